import { eventually } from './eventually.js';
import type { TestApp } from './test-app.js';

export interface AttemptRecord {
  outcome: string;
  http_status: string | null;
  error_code: number | null;
  resend: boolean;
  message_sid: string | null;
}

/** What the database says of the one text that is owed to a caller. */
export interface TextRecord {
  message: {
    message_id: string;
    state: string;
    message_sid: string | null;
    error_code: number | null;
    attempt: number;
    resends: number;
    accepted_at: Date | null;
    trigger_id: string;
  };
  attempts: AttemptRecord[];
  /** Its events in the order in which they were written, names without their prefix. */
  events: { name: string; payload: Record<string, unknown> }[];
}

/** The latest text to a caller, with every request made for it and every event about it. */
export async function textRecord(app: TestApp, caller: string): Promise<TextRecord | null> {
  const message = await app.row<TextRecord['message']>(
    `select message_id, state, message_sid, error_code, attempt, resends, accepted_at, trigger_id
     from telephony.messages where caller = $1 and direction = 'outbound' order by created_at desc limit 1`,
    [caller],
  );
  if (!message) return null;
  const { rows: attempts } = await app.db.query<AttemptRecord>(
    `select outcome, http_status, error_code, resend, message_sid from telephony.send_attempts
     where message_id = $1 order by attempt`,
    [message.message_id],
  );
  const { rows: events } = await app.db.query<TextRecord['events'][number]>(
    `select replace(event_name, 'nmc.telephony.', '') as name, payload from infra.outbox_events
     where payload ->> 'message_id' = $1 order by occurred_at`,
    [message.message_id],
  );
  return { message, attempts, events };
}

/**
 * The same once nothing more is going to happen: every delivery of the caller's journey is done or dead, so that what
 * the provider's ledger holds now is final.
 */
export function settledText(app: TestApp, caller: string, deadlineMs = 20_000): Promise<TextRecord> {
  return eventually(
    async () => {
      const record = await textRecord(app, caller);
      if (!record) return null;
      const pending = await app.row<{ count: number }>(
        `select count(*)::int from infra.outbox_deliveries d join infra.outbox_events e using (event_id)
         where e.payload ->> 'caller' = $1 or e.payload ->> 'message_id' = $2`,
        [caller, record.message.message_id],
      );
      // Read again: what was read first may be from before the last delivery was done.
      return pending?.count === 0 ? textRecord(app, caller) : null;
    },
    { deadlineMs, label: `the text to ${caller} is settled` },
  );
}

/** The names of the events of a text that were written. */
export function eventNames({ events }: TextRecord): string[] {
  return events.map(({ name }) => name);
}

import type pg from 'pg';
import type { TwilioSimulator } from '../../src/demo/simulators/twilio/twilio-simulator.js';
import type { Evidence, PlacedCall } from './checker.js';

const CALLS = `select call_sid as "callSid", decision from telephony.calls`;
const INTENTS = `
  select m.message_id as "messageId", coalesce(c.call_sid, '') as "callSid", m.state, m.message_sid as sid, m.attempt, m.resends
  from telephony.messages m left join telephony.calls c on c.call_id = m.trigger_id
  where m.direction = 'outbound' order by m.created_at`;
const ATTEMPTS = `
  select message_id as "messageId", attempt, resend, outcome, message_sid as sid
  from telephony.send_attempts order by message_id, attempt`;
/** By the database's clock: the processes' own may differ. */
const EVENTS = `
  select event_id as "eventId", event_name as name, payload ->> 'message_id' as "messageId",
    case when event_name like '%DeliveryUpdated' then payload ->> 'state' end as state
  from infra.outbox_events order by occurred_at, event_id`;
const DELIVERIES = `
  select event_id as "eventId", subscriber, 'done' as outcome, null::int as owner from infra.outbox_history
  union all select event_id, subscriber, 'dead', null from infra.outbox_dead_letters
  union all select event_id, subscriber, 'open', owner from infra.outbox_deliveries`;
const DEAD_LETTERS = `
  select e.payload ->> 'call_sid' as "callSid", d.error_code as "errorCode"
  from infra.outbox_dead_letters d left join infra.outbox_events e using (event_id)`;

/** What the database and the provider's ledger say, all of the database in one snapshot. */
export async function readEvidence(
  db: pg.Pool,
  twilio: TwilioSimulator,
  placed: readonly PlacedCall[],
): Promise<Evidence> {
  const client = await db.connect();
  try {
    await client.query('begin isolation level repeatable read read only');
    const read = async <Row extends pg.QueryResultRow>(sql: string) => (await client.query<Row>(sql)).rows;
    const evidence = {
      placed: [...placed],
      calls: await read<Evidence['calls'][number]>(CALLS),
      intents: await read<Evidence['intents'][number]>(INTENTS),
      attempts: await read<Evidence['attempts'][number]>(ATTEMPTS),
      events: await read<Evidence['events'][number]>(EVENTS),
      deliveries: await read<Evidence['deliveries'][number]>(DELIVERIES),
      deadLetters: await read<Evidence['deadLetters'][number]>(DEAD_LETTERS),
      requests: twilio.ledger.requests.map(({ params }) => keyOf(params)),
      texts: twilio.ledger.messages.map(({ sid, params }) => ({ sid, messageId: keyOf(params).messageId })),
    };
    await client.query('commit');
    return evidence;
  } finally {
    client.release();
  }
}

/** Our message and attempt, as the callback URL carries them. */
function keyOf(params: Readonly<Record<string, string>>): { messageId: string; attempt: number } {
  const query = new URL(params['StatusCallback'] ?? '').searchParams;
  return { messageId: query.get('m') ?? '', attempt: Number(query.get('a')) };
}

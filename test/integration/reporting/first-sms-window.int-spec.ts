import { randomUUID } from 'node:crypto';
import pg from 'pg';
import { FIRST_SMS_WINDOW } from '../../../src/reporting/slo/first-sms.queries.js';
import { cloneDatabase, type TestDatabase } from '../../support/database.js';

interface Window {
  p95_seconds: number | null;
  window_calls: number;
  open_breached: number;
}

describe('the first-SMS objective', () => {
  let database: TestDatabase;
  let db: pg.Client;
  beforeAll(async () => {
    database = await cloneDatabase();
    db = new pg.Client({ connectionString: database.url });
    await db.connect();
  });
  afterEach(() =>
    db.query(
      'truncate reporting.first_responses, infra.outbox_deliveries, infra.outbox_events, infra.outbox_dead_letters',
    ),
  );
  afterAll(async () => {
    await db.end();
    await database.drop();
  });

  /** A call `ago` seconds ago, answered after `latency` seconds or still open. */
  async function call(ago: number, latency: number | null, excluded: string | null = null): Promise<void> {
    await db.query(
      `insert into reporting.first_responses (trigger_id, tenant_id, correlation_id, trigger_kind, detected_at, first_sms_at,
        excluded_reason)
       select $1, $1, $1, 'call', at, at + $3::float8 * interval '1 second', $4
       from (select clock_timestamp() - $2::float8 * interval '1 second' as at) clock`,
      [randomUUID(), ago, latency, excluded],
    );
  }

  /** An event that the tracker has not been told, in a delivery or a dead letter. */
  async function untold(name: string, payload: Record<string, unknown>, table = 'outbox_deliveries'): Promise<void> {
    const id = randomUUID();
    await db.query(
      `insert into infra.outbox_events (event_id, event_name, schema_version, tenant_id, occurred_at, correlation_id, ordering_key, payload)
       values ($1, $2, '1.0.0', $1, now(), $1, 'k', $3)`,
      [id, name, payload],
    );
    const extra =
      table === 'outbox_deliveries'
        ? 'lane, due_at, available_at'
        : 'delivery_id, created_at, attempts, reason, error_code, fingerprint';
    const values =
      table === 'outbox_deliveries'
        ? `infra.outbox_lane('reporting.first_response', 'k'), now(), now()`
        : `1, now(), 6, 'r', 'c', 'f'`;
    await db.query(
      `insert into infra.${table} (event_id, event_name, subscriber, tenant_id, ordering_key, ${extra})
       values ($1, $2, 'reporting.first_response', $1, 'k', ${values})`,
      [id, name],
    );
  }

  async function window(): Promise<Window> {
    const { rows } = await db.query<Window>(FIRST_SMS_WINDOW, [15, 5]);
    if (!rows[0]) throw new Error('no answer');
    return rows[0];
  }

  const secondsAgo = (seconds: number) => new Date(Date.now() - seconds * 1000).toISOString();

  it('is unknown without calls, not zero', async () => {
    expect(await window()).toEqual({ p95_seconds: null, window_calls: 0, open_breached: 0 });
  });

  it('counts open calls at their present age: with 30 % unanswered the P95 is theirs', async () => {
    for (let i = 0; i < 7; i++) await call(600, 2 + i / 10);
    for (let i = 0; i < 3; i++) await call(400 + 100 * i, null);
    const { p95_seconds, window_calls, open_breached } = await window();
    expect(window_calls).toBe(10);
    expect(open_breached).toBe(3);
    expect(p95_seconds).toBeGreaterThan(599);
    expect(p95_seconds).toBeLessThan(660);
  });

  it('lets open calls younger than the threshold wait, and counts them from then on', async () => {
    await call(60, 1);
    await call(3, null);
    expect(await window()).toMatchObject({ window_calls: 1, open_breached: 0, p95_seconds: 1 });
    await call(5.5, null);
    expect(await window()).toMatchObject({ window_calls: 2, open_breached: 1 });
  });

  it('leaves out what was excluded for a reason, and what is older than the window', async () => {
    await call(60, null, 'opted_out');
    await call(1000, null);
    await call(60, 2);
    expect(await window()).toEqual({ p95_seconds: 2, window_calls: 1, open_breached: 0 });
  });

  it('takes the larger of two, not a value between them', async () => {
    await call(60, 1);
    await call(60, 4);
    expect((await window()).p95_seconds).toBe(4);
  });

  it.each(['outbox_deliveries', 'outbox_dead_letters'])(
    'sees a waiting caller whose event is stuck in %s',
    async (table) => {
      const payload = { call_id: randomUUID(), missed_at: secondsAgo(60), decision: 'reply' };
      await untold('nmc.telephony.CallDetected', payload, table);
      expect(await window()).toMatchObject({ window_calls: 1, open_breached: 1 });
    },
  );

  it('sees a waiting texter too, but not who was suppressed', async () => {
    await untold('nmc.telephony.InboundSmsReceived', {
      message_id: randomUUID(),
      received_at: secondsAgo(9),
      decision: 'reply',
    });
    await untold('nmc.telephony.CallDetected', {
      call_id: randomUUID(),
      missed_at: secondsAgo(9),
      decision: 'suppress',
    });
    expect(await window()).toMatchObject({ window_calls: 1, open_breached: 1 });
  });

  it('sees an acceptance that the tracker has not been told', async () => {
    const call_id = randomUUID();
    await untold('nmc.telephony.CallDetected', { call_id, missed_at: secondsAgo(60), decision: 'reply' });
    await untold('nmc.telephony.OutboundSmsQueued', { trigger_id: call_id, accepted_at: secondsAgo(58) });
    const { p95_seconds, open_breached } = await window();
    expect(open_breached).toBe(0);
    expect(p95_seconds).toBeCloseTo(2, 1);
  });

  it('counts a call once, told or not', async () => {
    const call_id = randomUUID();
    await untold('nmc.telephony.CallDetected', { call_id, missed_at: secondsAgo(60), decision: 'reply' });
    await db.query(
      `insert into reporting.first_responses (trigger_id, tenant_id, correlation_id, trigger_kind, detected_at)
       values ($1, $1, $1, 'call', $2)`,
      [call_id, secondsAgo(60)],
    );
    expect((await window()).window_calls).toBe(1);
  });
});

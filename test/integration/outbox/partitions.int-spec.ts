import { OutboxPartitions } from '../../../src/infra/outbox/outbox-partitions.service.js';
import { eventually } from '../../support/eventually.js';
import { OutboxHarness, type OutboxProcess } from '../../support/outbox-harness.js';

const DAY_MS = 86_400_000;
const dayName = (offset: number) =>
  new Date(Date.now() + offset * DAY_MS).toISOString().slice(0, 10).replaceAll('-', '');
/** A uuid v7 of noon of a day. */
function uuidOf(offset: number, tail: number): string {
  const hex = (Math.floor(Date.now() / DAY_MS) * DAY_MS + offset * DAY_MS + DAY_MS / 2).toString(16).padStart(12, '0');
  return `${hex.slice(0, 8)}-${hex.slice(8)}-7000-8000-${String(tail).padStart(12, '0')}`;
}

describe('partitions and retention', () => {
  let outbox: OutboxHarness;
  let app: OutboxProcess;
  beforeAll(async () => {
    outbox = await OutboxHarness.start();
    app = await outbox.process('all');
  });
  afterAll(() => outbox.stop());
  const maintain = () => app.context.get(OutboxPartitions).maintain();

  async function partitions(): Promise<string[]> {
    const { rows } = await outbox.db.query<{ name: string }>(
      `select inhrelid::regclass::text as name from pg_inherits
       where inhparent in ('infra.outbox_events'::regclass, 'infra.outbox_history'::regclass) order by 1`,
    );
    return rows.map(({ name }) => name.replace('infra.', ''));
  }
  async function insertEvent(eventId: string): Promise<void> {
    await outbox.db.query(
      `insert into infra.outbox_events (event_id, event_name, schema_version, tenant_id, occurred_at, correlation_id,
         ordering_key, payload)
       values ($1, 'x', '1.0.0', gen_random_uuid(), now(), gen_random_uuid(), 'x', '{}')`,
      [eventId],
    );
  }
  async function whereIs(eventId: string): Promise<string | undefined> {
    const { rows } = await outbox.db.query<{ name: string }>(
      'select tableoid::regclass::text as name from infra.outbox_events where event_id = $1',
      [eventId],
    );
    return rows[0]?.name.replace('infra.', '');
  }

  it('makes them at boot, from today to three days ahead, and once only', async () => {
    const days = [0, 1, 2, 3].map(dayName);
    const expected = ['outbox_events', 'outbox_history'].flatMap((table) => [
      `${table}_default`,
      ...days.map((day) => `${table}_p${day}`),
    ]);
    expect(await partitions()).toEqual(expected.sort());
    await Promise.all([maintain(), maintain()]);
    expect(await partitions()).toEqual(expected);
  });

  it('puts rows where they belong, over the change of the day', async () => {
    const eventId = await app.publish('today', 1);
    await outbox.drained();
    expect(await whereIs(eventId)).toBe(`outbox_events_p${dayName(0)}`);
    const { rows } = await outbox.db.query('select tableoid::regclass::text as name from infra.outbox_history');
    expect(rows).toEqual([{ name: `infra.outbox_history_p${dayName(0)}` }]);
    await insertEvent(uuidOf(1, 1));
    expect(await whereIs(uuidOf(1, 1))).toBe(`outbox_events_p${dayName(1)}`);
  });

  it('lives on after a long stop, when rows of a day are already in the default partition', async () => {
    await outbox.db.query(`drop table infra.outbox_events_p${dayName(2)}, infra.outbox_events_p${dayName(3)}`);
    await insertEvent(uuidOf(2, 2));
    expect(await whereIs(uuidOf(2, 2))).toBe('outbox_events_default');
    await maintain();
    expect(await partitions()).toContain(`outbox_events_p${dayName(3)}`);
    expect(await partitions()).not.toContain(`outbox_events_p${dayName(2)}`);
    expect(await whereIs(uuidOf(2, 2))).toBe('outbox_events_default');
  });

  it('drops what is older than 30 days, whole or by row, but keeps the event of a dead letter', async () => {
    const old = dayName(-31);
    await outbox.db.query(
      `create table infra.outbox_events_p${old} partition of infra.outbox_events
       for values from ('${uuidOf(-31, 0)}') to ('${uuidOf(-31, 99)}')`,
    );
    await insertEvent(uuidOf(-31, 1));
    await insertEvent(uuidOf(-31, 2));
    await insertEvent(uuidOf(-40, 1));
    await insertEvent(uuidOf(-40, 2));
    await insertEvent(uuidOf(-29, 1));
    await outbox.db.query(
      `insert into infra.outbox_dead_letters (delivery_id, event_id, event_name, subscriber, tenant_id, ordering_key,
         created_at, attempts, reason, error_code, fingerprint)
       select row_number() over (), id, 'x', 'x', gen_random_uuid(), 'x', now(), 6, 'x', 'x', 'x'
       from unnest($1::uuid[]) id`,
      [[uuidOf(-31, 1), uuidOf(-40, 1)]],
    );
    await outbox.db.query(
      `insert into infra.outbox_history select 1, gen_random_uuid(), 'x', gen_random_uuid(), 1, now(), now() - interval '40 days'`,
    );
    await outbox.db.query(
      `insert into infra.consumed_events (subscriber, event_id, consumed_at)
       values ('a', $1, now() - interval '40 days'), ('b', $1, now() - interval '40 days'), ('a', $2, now()),
              ('b', $3, now())`,
      [uuidOf(-40, 7), uuidOf(-29, 7), uuidOf(-40, 8)],
    );
    await maintain();
    expect(await partitions()).not.toContain(`outbox_events_p${old}`);
    expect(await whereIs(uuidOf(-31, 1))).toBe('outbox_events_default');
    expect(await whereIs(uuidOf(-40, 1))).toBe('outbox_events_default');
    expect(await whereIs(uuidOf(-31, 2))).toBeUndefined();
    expect(await whereIs(uuidOf(-40, 2))).toBeUndefined();
    expect(await whereIs(uuidOf(-29, 1))).toBe('outbox_events_default');
    expect(await outbox.count("infra.outbox_history where completed_at < now() - interval '30 days'")).toBe(0);
    const { rows } = await outbox.db.query('select subscriber, event_id from infra.consumed_events order by 1, 2');
    expect(rows.map((row) => row.event_id)).toEqual([uuidOf(-29, 7), uuidOf(-40, 8)]);
  });

  it('lets no publisher wait for a reader that is in the way', async () => {
    await outbox.db.query(`drop table infra.outbox_events_p${dayName(3)}`);
    const reader = await outbox.db.connect();
    await reader.query('begin');
    await reader.query('select count(*) from infra.outbox_events');
    const maintained = maintain().then(
      () => 'done',
      (error: Error) => error.message,
    );
    await eventually(async () => (await outbox.count("pg_stat_activity where wait_event_type = 'Lock'")) > 0, {
      label: 'the maintenance waits for the reader',
    });
    await app.publish('impatient', 9);
    expect(await maintained).toMatch(/lock timeout/);
    await reader.query('rollback');
    reader.release();
    await maintain();
    expect(await partitions()).toContain(`outbox_events_p${dayName(3)}`);
    await outbox.drained();
  });
});

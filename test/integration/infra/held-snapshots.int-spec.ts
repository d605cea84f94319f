import { randomBytes } from 'node:crypto';
import pg from 'pg';
import { metrics } from '../../../src/common/metrics/metrics.js';
import { SnapshotsCron } from '../../../src/infra/database/snapshots.cron.js';
import { OutboxCron } from '../../../src/infra/outbox/outbox.cron.js';
import { eventually } from '../../support/eventually.js';
import { OutboxHarness, OutboxProcess } from '../../support/outbox-harness.js';

const COLLECTOR_UP = 'nmc_collector_up';

/** The server is shared with other tests, whose transactions are short. */
const WAIT = { deadlineMs: 30_000 };

let outbox: OutboxHarness;
beforeAll(async () => {
  outbox = await OutboxHarness.start();
});
afterAll(() => outbox.stop());

async function sample(name: string, collector?: string): Promise<number | undefined> {
  const { values } = (await metrics.registry.getSingleMetric(name)?.get()) ?? { values: [] };
  return values.find(({ labels }) => collector === undefined || labels['collector'] === collector)?.value;
}

async function held(process: OutboxProcess) {
  await process.context.get(SnapshotsCron).readSnapshots();
  return {
    seconds: await sample('db_oldest_snapshot_age_seconds'),
    transactions: await sample('db_oldest_xmin_age_transactions'),
    up: await sample(COLLECTOR_UP, 'db_snapshots'),
  };
}

async function session(url = outbox.url): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: url });
  client.on('error', () => {});
  await client.connect();
  return client;
}

describe('a held snapshot', () => {
  let app: OutboxProcess;
  beforeAll(async () => {
    app = await outbox.process('web', { ROLE: 'web' });
  });
  afterAll(() => outbox.stopProcess(app));

  it.each([
    ['of a report that only reads', ['begin isolation level repeatable read', 'select 1']],
    ['of a transaction that has written', ['begin', "insert into public.effects values ('x', 1, 'x')"]],
  ])('%s makes the age rise, in seconds and in transactions, until it ends', async (_what, statements) => {
    const pass = (transactions: number) =>
      outbox.db.query(`
        do $$ begin for n in 1..${transactions} loop perform pg_current_xact_id(); commit; end loop; end $$`);
    const report = await session();
    try {
      for (const sql of statements) await report.query(sql);
      await pass(2_000);
      const early = await held(app);
      expect(early).toEqual({ seconds: expect.any(Number), transactions: expect.any(Number), up: 1 });
      expect(early.transactions).toBeGreaterThanOrEqual(2_000);
      await pass(1_000);
      const late = await eventually(
        async () => {
          const now = await held(app);
          return (now.seconds ?? 0) > (early.seconds ?? 0) + 1 && now;
        },
        { ...WAIT, label: 'the age rises' },
      );
      // What was seen early may have been another one's that was older still.
      expect(late.transactions).toBeGreaterThanOrEqual(3_000);
    } finally {
      await report.end();
    }
    await eventually(
      async () => {
        const { seconds = 99, transactions = 9_999 } = await held(app);
        return seconds < 1 && transactions < 1_000;
      },
      { ...WAIT, label: 'the ages fall' },
    );
  });

  it('is none where a session of ours is open and idle, nor is a snapshot of another database', async () => {
    const idle = await session();
    await idle.query('begin');
    const elsewhere = new URL(outbox.url);
    elsewhere.pathname = '/postgres';
    const stranger = await session(elsewhere.href);
    await stranger.query('begin isolation level repeatable read');
    await stranger.query('select 1');
    const { rows } = await stranger.query<{ held: boolean }>(
      'select backend_xmin is not null as held from pg_stat_activity where pid = pg_backend_pid()',
    );
    expect(rows).toEqual([{ held: true }]);
    const since = performance.now();
    await eventually(
      async () => {
        const { seconds = 99 } = await held(app);
        // Younger than both of them: what it sees are others, and they end.
        return performance.now() - since > 1_500 && seconds < 1;
      },
      { ...WAIT, label: 'neither is counted' },
    );
    await idle.end();
    await stranger.end();
  });

  it('is told of by the dead rows that it keeps, too', async () => {
    const report = await session();
    await report.query('begin isolation level repeatable read');
    await report.query('select 1');
    await outbox.insertRows(300, { available: "now() + interval '1 hour'" });
    // A session hands its statistics in when it ends.
    const writer = await session();
    await writer.query('delete from infra.outbox_deliveries');
    await writer.end();
    await eventually(
      async () => {
        await app.context.get(OutboxCron).readTable();
        return ((await sample('outbox_dead_tuples')) ?? 0) >= 300;
      },
      { ...WAIT, label: 'the statistics know' },
    );
    expect(await sample(COLLECTOR_UP, 'outbox_table')).toBe(1);
    await report.end();
  });
});

describe('a role that may not see the sessions of others', () => {
  const role = `nmc_limited_${randomBytes(6).toString('hex')}`;
  beforeAll(async () => {
    await outbox.db.query(`
      create role ${role} login password 'limited';
      grant usage on schema infra to ${role};
      grant all on all tables in schema infra to ${role};`);
  });
  afterAll(async () => {
    await outbox.db.query(`drop owned by ${role}; drop role ${role};`);
  });

  it('reports nothing rather than half of it, until it may', async () => {
    const url = new URL(outbox.url);
    url.username = role;
    url.password = 'limited';
    const limited = await OutboxProcess.start(url.href, 'limited', { ROLE: 'web' });
    const report = await session();
    await report.query('begin isolation level repeatable read');
    await report.query('select 1');
    expect(await held(limited)).toEqual({ seconds: undefined, transactions: undefined, up: 0 });

    await outbox.db.query(`grant pg_read_all_stats to ${role}`);
    const seen = await held(limited);
    expect(seen).toEqual({ seconds: expect.any(Number), transactions: expect.any(Number), up: 1 });
    await eventually(async () => ((await held(limited)).seconds ?? 0) > (seen.seconds ?? 0), {
      ...WAIT,
      label: 'the report of another role is seen',
    });
    await report.end();
    await limited.stop();
  });
});

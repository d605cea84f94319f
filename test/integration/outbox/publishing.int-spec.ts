import { randomUUIDv7 } from 'node:crypto';
import { runInContext } from '../../../src/common/context/context.js';
import { metrics } from '../../../src/common/metrics/metrics.js';
import { ORDER_LOCK_CLASS, PUBLISH } from '../../../src/infra/outbox/deliveries.queries.js';
import { eventually } from '../../support/eventually.js';
import { FIRST, OutboxHarness, type OutboxProcess, Ping, Pong, SECOND, TENANT } from '../../support/outbox-harness.js';

describe('publishing', () => {
  let outbox: OutboxHarness;
  let app: OutboxProcess;
  beforeAll(async () => {
    outbox = await OutboxHarness.start();
    // Nothing here may depend on polling.
    app = await outbox.process('all', { OUTBOX_POLL_MS: '60000' });
  });
  afterAll(() => outbox.stop());
  beforeEach(() => {
    app.handlers.starts.length = 0;
    app.handlers.ends.length = 0;
    app.handlers.behave = {};
  });

  it('hands over after the commit, in memory, without a claim', async () => {
    const startsBeforeCommit: number[] = [];
    await app.publish('hand-off', 1, {
      also: async (tx) => {
        await tx.query('insert into public.effects values ($1, 1, null)', [FIRST]);
        startsBeforeCommit.push(app.handlers.starts.length);
      },
    });
    // Before anything asynchronous can have happened: no claim, no notification, no poll.
    expect(startsBeforeCommit).toEqual([0]);
    expect(app.handlers.starts).toMatchObject([{ n: 1, attempt: 1 }]);
    await outbox.drained();
    expect(await outbox.count('infra.outbox_history')).toBe(1);
  });

  it('reads the lane and nothing else, also when it was planned while there was nothing', async () => {
    const db = await outbox.db.connect();
    const publish = () => {
      const [id, tenant] = [randomUUIDv7(), randomUUIDv7()];
      const event = [id, Ping.name, Ping.version, tenant, null, id, null, null, 'lane', { n: 1 }];
      return db.query(PUBLISH, [...event, ORDER_LOCK_CLASS, 15_000, 1, [FIRST, SECOND], [null, null], [null, null]]);
    };
    const reads = async () => {
      const { rows } = await db.query(`
        select seq_tup_read::int as of_table, idx_scan::int as of_lanes
        from pg_stat_xact_user_tables where relname = 'outbox_deliveries'`);
      return rows[0];
    };
    try {
      await outbox.db.query('truncate infra.outbox_deliveries');
      await outbox.db.query('vacuum analyze infra.outbox_deliveries');
      await db.query('begin');
      await publish();
      await db.query('rollback; begin');
      await outbox.insertRows(2_000, { available: "now() + interval '1 hour'" });
      const before = await reads();
      await publish();
      const after = await reads();
      expect(after.of_table - before.of_table).toBe(0);
      expect(after.of_lanes - before.of_lanes).toBe(2);
    } finally {
      await db.query('rollback').finally(() => db.release());
      await outbox.db.query('truncate infra.outbox_deliveries');
    }
  });

  it.each([
    ['encloses it in the delivery', 10, false],
    ['looks it up, when it is wide', 2_000, true],
  ])('gives a later run the event as the first one had it: %s', async (_, width, isLookedUp) => {
    const events: unknown[] = [];
    const lookedUp: number[] = [];
    app.handlers.behave[FIRST] = async (event) => {
      events.push(event);
      lookedUp.push(await outbox.count('infra.outbox_deliveries where envelope is null'));
      if (events.length === 1) throw new Error('not now');
    };
    const caused = {
      causationId: randomUUIDv7(),
      correlationId: randomUUIDv7(),
      tenantId: TENANT,
      module: 'telephony',
    } as const;
    await runInContext(caused, () => app.publish('again', 5, { gate: 'g'.repeat(width) }));
    await outbox.drained();
    expect(events[1]).toEqual(events[0]);
    expect(events[1]).toMatchObject({ causationId: caused.causationId, correlationId: caused.correlationId });
    expect(lookedUp).toEqual(isLookedUp ? [1, 1] : [0, 0]);
  });

  it('hands nothing over when the business transaction rolls back', async () => {
    const before = await outbox.count('infra.outbox_events');
    const failing = app.publish('rollback', 1, {
      contract: Pong,
      also: async (tx) => {
        await tx.query('select 1/0');
      },
    });
    await expect(failing).rejects.toThrow('division by zero');
    await app.publish('after', 2);
    await outbox.drained();
    expect(app.handlers.starts.map(({ n }) => n)).toEqual([2]);
    expect(await outbox.count('infra.outbox_events')).toBe(before + 1);
  });

  it('aborts the business transaction when the payload breaks its schema', async () => {
    const publication = app.publish('bad', 'no number' as unknown as number);
    await expect(publication).rejects.toThrow(/expected number/);
    expect(await outbox.count("infra.outbox_deliveries where ordering_key = 'bad'")).toBe(0);
  });

  it('gives each subscriber its own delivery: one that fails makes no other run again', async () => {
    let failures = 0;
    app.handlers.behave[SECOND] = () => {
      if (failures++ < 2) throw new Error('not now');
    };
    await app.publish('two', 7, { contract: Pong });
    await outbox.drained();
    expect(app.handlers.starts.filter(({ subscriber }) => subscriber === FIRST)).toHaveLength(1);
    expect(app.handlers.starts.filter(({ subscriber }) => subscriber === SECOND).map((run) => run.attempt)).toEqual([
      1, 2, 3,
    ]);
  });

  it('records an event nobody listens to, and delivers nothing', async () => {
    const before = await outbox.count('infra.outbox_events');
    const unheard = { ...Ping, name: 'nmc.compliance.OptInRecorded' } as const;
    await app.publish('unheard', 1, { contract: unheard });
    expect(await outbox.count('infra.outbox_events')).toBe(before + 1);
    expect(await outbox.count('infra.outbox_deliveries')).toBe(0);
  });

  it('keeps the writers of one key in the order of their commits', async () => {
    const gate = await outbox.db.connect();
    await gate.query('select pg_advisory_lock(1, 1)');
    const waiting = (statement: string) =>
      eventually(
        async () =>
          (await outbox.count("pg_stat_activity where wait_event_type = 'Lock' and query like $1", [statement])) === 1,
        { label: `${statement} waits` },
      );
    const first = app.publish('order', 1, {
      also: async (tx) => tx.beforeCommit(async (query) => void (await query('select pg_advisory_xact_lock(1, 1)'))),
    });
    await waiting('%pg_advisory_xact_lock(1, 1)%');
    const second = app.publish('order', 2);
    await app.publish('elsewhere', 3);
    await waiting('%outbox_publish%');
    expect(app.handlers.starts.map(({ n }) => n)).toEqual([3]);
    await gate.query('select pg_advisory_unlock(1, 1)');
    gate.release();
    await Promise.all([first, second]);
    await outbox.drained();
    expect(app.handlers.starts.map(({ n }) => n)).toEqual([3, 1, 2]);
  });

  it('works off a hot lane one by one without waiting for a poll', async () => {
    for (let n = 0; n < 40; n++) await app.publish('hot', n);
    await outbox.drained();
    expect(app.handlers.ends.map(({ n }) => n)).toEqual(Array.from({ length: 40 }, (_, n) => n));
  });

  it('lost no lease and met no trouble in all of this', async () => {
    const { values } = (await metrics.registry.getSingleMetric('outbox_leases_lost_total')?.get()) ?? { values: [] };
    expect(values.map(({ value }) => value)).toEqual([0]);
    expect(app.lines('fails')).toEqual([]);
  });
});

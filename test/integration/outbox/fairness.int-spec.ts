import { setTimeout as pause } from 'node:timers/promises';
import { jest } from '@jest/globals';
import { PinoLogger } from 'nestjs-pino';
import pg from 'pg';
import { GateLimits } from '../../../src/infra/gates/provider-gate.policy.js';
import { ProviderGates } from '../../../src/infra/gates/provider-gates.service.js';
import { Claims } from '../../../src/infra/outbox/claims.js';
import { Completions } from '../../../src/infra/outbox/completions.js';
import { CLAIM, PINNED_PLANS } from '../../../src/infra/outbox/deliveries.queries.js';
import type { Delivery } from '../../../src/infra/outbox/delivery.js';
import { FairQueue } from '../../../src/infra/outbox/fair-queue.js';
import { TroubleLog } from '../../../src/infra/outbox/trouble-log.js';
import { eventually } from '../../support/eventually.js';
import { FIRST, OTHER_TENANT, OutboxHarness, type OutboxProcess, TENANT } from '../../support/outbox-harness.js';

const CONCURRENCY = 5;
const silent = new PinoLogger({ pinoHttp: { level: 'silent' } });

describe('fairness', () => {
  let outbox: OutboxHarness;
  beforeAll(async () => {
    outbox = await OutboxHarness.start();
  });
  afterAll(() => outbox.stop());
  afterEach(async () => {
    for (const process of [...outbox.processes]) await outbox.stopProcess(process);
    await outbox.db.query('truncate infra.outbox_deliveries');
  });

  /** How many of the flood were started between the other tenant's row being there and its start. */
  async function turnsWaited(app: OutboxProcess, add: () => Promise<unknown>): Promise<number> {
    app.handlers.behave[FIRST] = () => pause(1);
    await eventually(() => app.handlers.starts.length > 200, { label: 'the flood is being worked off' });
    await add();
    const from = app.handlers.starts.length;
    const own = await eventually(
      () => app.handlers.starts.findIndex((run) => run.tenantId === OTHER_TENANT) + 1 || null,
      {
        label: 'the other tenant has its turn',
      },
    );
    return Math.max(0, own - 1 - from);
  }

  it('goes on claiming while results are being written, but not for more than twice what may wait or run', async () => {
    const tenantOf = (n: number) => `00000000-0000-4000-8000-${String(n).padStart(12, '0')}`;
    for (let n = 0; n < 20; n++) await outbox.insertRows(100, { tenantId: tenantOf(n), keyPrefix: `${n}-` });
    const client = await outbox.db.connect();
    await client.query('begin; lock table infra.outbox_history in exclusive mode');
    const app = await outbox.process('only', { OUTBOX_CONCURRENCY: '100', OUTBOX_BATCH_SIZE: '50' });
    const { starts } = app.handlers;
    await eventually(() => starts.length > 900, { label: 'twice the capacity of 500, but for half a batch at most' });
    await pause(200);
    expect(starts.length).toBeLessThanOrEqual(1_000);
    await client.query('commit');
    client.release();
    await outbox.drained();
    expect(new Set(starts.map(({ eventId }) => eventId)).size).toBe(2_000);
    expect(starts).toHaveLength(2_000);
  });

  it("lets one tenant's flood cost another no more than a few turns, when it is published here", async () => {
    await outbox.insertRows(2_000);
    const app = await outbox.process('all', { OUTBOX_CONCURRENCY: String(CONCURRENCY) });
    const turns = await turnsWaited(app, () => app.publish('other', 1, { tenantId: OTHER_TENANT }));
    expect(turns).toBeLessThanOrEqual(2 * CONCURRENCY);
    expect(await outbox.count('infra.outbox_deliveries')).toBeGreaterThan(500);
  });

  it("lets one tenant's flood cost another no more than a few turns, when it has to be claimed", async () => {
    await outbox.insertRows(2_000);
    const app = await outbox.process('all', { OUTBOX_CONCURRENCY: String(CONCURRENCY) });
    const turns = await turnsWaited(app, async () => {
      await outbox.insertRows(1, { tenantId: OTHER_TENANT, keyPrefix: 'other', available: 'now()' });
      app.dispatcher.wake();
    });
    // A claim is under way while some are started.
    expect(turns).toBeLessThanOrEqual(20 * CONCURRENCY);
    expect(await outbox.count('infra.outbox_deliveries')).toBeGreaterThan(500);
  });

  it.each([
    { begun: 'under way already', finished: 300 },
    // Fewer than its share are held then, and more than half of that: nobody has looked for more of it yet.
    { begun: 'begun by the same wake-up', finished: 60 },
  ])("claims for another tenant beside a claim of the flood's that is $begun", async ({ finished }) => {
    await outbox.insertRows(300);
    const app = await outbox.process('all', { OUTBOX_CONCURRENCY: String(CONCURRENCY), OUTBOX_POLL_MS: '60000' });
    const [some, all] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    app.handlers.behave[FIRST] = (_event, _run, { tenantId }) => {
      if (tenantId === TENANT) return app.handlers.starts.length > finished ? all.promise : some.promise;
    };
    const claimed = async () => {
      await outbox.insertRows(1, { tenantId: OTHER_TENANT, keyPrefix: 'other', available: 'now()' });
      app.dispatcher.wake();
      const waiting = `infra.outbox_deliveries where tenant_id = '${OTHER_TENANT}' and owner is null`;
      const nothing = async () => (await outbox.count(waiting)) === 0;
      await eventually(nothing, { deadlineMs: 5_000, label: 'nothing waits of the other tenant' });
    };
    await eventually(() => app.handlers.starts.length === CONCURRENCY, { label: 'the flood is being worked off' });
    await claimed();
    const held = await outbox.holdUp(`new.fence <> old.fence and new.tenant_id = '${TENANT}'`);
    try {
      const isHeldUp = async () => (await held.count()) === 1;
      some.resolve();
      const isBegun = async () => finished < 300 || (await isHeldUp());
      const left = `infra.outbox_deliveries where tenant_id = '${TENANT}'`;
      const areWritten = async () => (await outbox.count(left)) <= 300 - Math.min(finished, 100) + CONCURRENCY;
      await eventually(areWritten, { label: 'what was held of the flood is done' });
      await eventually(isBegun, { label: 'the claim that comes back to the flood is held up' });
      await claimed();
      await eventually(isHeldUp, { label: "the flood's claim is still held up" });
      await held.letGo();
      all.resolve();
      await outbox.drained();
      expect(new Set(app.handlers.ends.map(({ eventId }) => eventId)).size).toBe(302);
      expect(app.handlers.ends).toHaveLength(302);
    } finally {
      for (const { resolve } of [some, all]) resolve();
      await held.remove();
    }
  });

  it('works off a flood of one tenant without waiting for polls', async () => {
    await outbox.insertRows(1_000);
    const app = await outbox.process('all', { OUTBOX_POLL_MS: '60000' });
    await outbox.drained();
    expect(app.handlers.ends).toHaveLength(1_000);
  });

  describe('reads what waits of a flood once, not with each claim for the others', () => {
    const room = 100;
    let pool: pg.Pool;
    let queue: FairQueue;
    let claims: Claims;
    /** Where the last claim began, and where it was that the flood was passed over, in microseconds. */
    let from: number;
    let passedOverAt: number;
    beforeEach(async () => {
      pool = new pg.Pool({ connectionString: outbox.url, options: PINNED_PLANS, max: 1 });
      queue = new FairQueue();
      const gates = new ProviderGates(silent, new GateLimits());
      claims = new Claims(pool, pool, queue, gates, { leaseMs: 15_000, tenantShare: 50 });
      await outbox.insertRows(300);
      await claims.discover();
      expect(await take()).toHaveLength(room);
      expect(await take()).toEqual([]);
      passedOverAt = from;
    });
    afterEach(() => pool.end());

    const isClaim = ({ name }: pg.QueryConfig) => name === 'outbox-claim';

    /** @returns whose rows it brought */
    async function take(most = room): Promise<string[]> {
      const query = jest.spyOn(pg.Client.prototype, 'query');
      const { deliveries } = await claims.next(1, most);
      for (const delivery of deliveries) queue.push(delivery);
      const claim = query.mock.calls.map((call) => call[0] as unknown as pg.QueryConfig).findLast(isClaim);
      query.mockRestore();
      from = Number(claim?.values?.[5]);
      return deliveries.map(({ event }) => event.tenantId);
    }

    function finish(count: number): Delivery[] {
      const finished = Array.from({ length: count }, () => queue.take() as Delivery);
      for (const delivery of finished) queue.release(delivery);
      return finished;
    }

    it('when it is looked for', async () => {
      finish(70);
      expect(await take(30)).toHaveLength(30);
      // The last claim passed over nobody: the flood is the first thing that there is to find.
      expect(await claims.discover()).toBe(false);
      await take();
      expect(from).toBeGreaterThan(passedOverAt + 500_000);
      await outbox.insertRows(1, { tenantId: OTHER_TENANT, keyPrefix: 'other', available: 'now()' });
      expect(await take()).toEqual([OTHER_TENANT]);
      // A row of the flood's that stands before where the claims have got to with it, as one whose lane comes free.
      const [early] = await outbox.insertRows(1, { keyPrefix: 'early', available: "now() - interval '5 seconds'" });
      expect(await claims.discover()).toBe(false);
      finish(50);
      await take();
      expect(queue.held.map(({ event }) => event.eventId)).toContain(early);
    });

    it('when lanes of its own come free', async () => {
      // One more in each lane, which stands where the claims have long been.
      const seconds = await outbox.insertRows(300, { available: "now() - interval '5 seconds'" });
      const completions = new Completions(pool, new TroubleLog(silent), {
        batchSize: 1,
        passedOver: () => claims.passedOver,
        onMore: (next) => claims.lookBack(next),
        onLeasesLost: () => {},
      });
      await Promise.all(finish(10).map((delivery) => completions.complete(delivery)));
      expect(await take()).toEqual([]);
      expect(from).toBeGreaterThan(passedOverAt + 500_000);
      finish(50);
      await take();
      const held = queue.held.map(({ event }) => event.eventId);
      expect(held.filter((id) => seconds.includes(id))).toHaveLength(10);
    });
  });

  it('claims by its index, however much is blocked or in the future', async () => {
    await outbox.insertRows(5_000, { oneLane: true, keyPrefix: 'blocked' });
    await outbox.insertRows(5_000, { keyPrefix: 'future', available: "now() + interval '1 hour'" });
    const client = new pg.Client({ connectionString: outbox.url, options: PINNED_PLANS });
    await client.connect();
    try {
      await client.query('begin');
      await client.query(`prepare claim (int, int, int, uuid[], text[], bigint, bigint) as ${CLAIM}`);
      const explained = async (passedOver: readonly string[]) => {
        await client.query('savepoint claim');
        const { rows } = await client.query(
          `explain (analyze, format json) execute claim (1, 15000, 100, '{${passedOver.join()}}', '{}', 0, 0)`,
        );
        await client.query('rollback to claim');
        return JSON.stringify(rows[0]['QUERY PLAN'][0].Plan);
      };
      for (const statistics of ['stale', 'fresh']) {
        if (statistics === 'fresh') await client.query('analyze infra.outbox_deliveries');
        // All are of one tenant: where it is passed over, hardly a row is expected.
        for (const plan of [await explained([]), await explained([TENANT])]) {
          expect(plan).not.toMatch(/Seq Scan|Bitmap|Hash Join/);
          expect(plan).toContain('outbox_deliveries_available');
          expect(plan).toContain('outbox_deliveries_lane');
        }
      }
      const { rows } = await client.query(CLAIM, [1, 15_000, 100, [], [], 0, '0']);
      expect(rows).toHaveLength(1);
    } finally {
      await client.end();
    }
  });

  it.each([
    ['reads nothing of the log where the events are enclosed', false, 0],
    ['looks each event up by its key, also while statistics take the partition for empty', true, 100],
  ])('%s', async (_, isLookedUp, lookUps) => {
    await outbox.db.query('truncate infra.outbox_deliveries, infra.outbox_events');
    await outbox.db.query('vacuum analyze infra.outbox_events');
    const client = new pg.Client({ connectionString: outbox.url, options: PINNED_PLANS });
    await client.connect();
    try {
      await client.query(`prepare claim (int, int, int, uuid[], text[], bigint, bigint) as ${CLAIM}`);
      await client.query(`execute claim (1, 15000, 100, '{}', '{}', 0, 0)`);
      await outbox.insertRows(1_000);
      if (isLookedUp) await outbox.db.query('update infra.outbox_deliveries set envelope = null');
      await client.query('begin');
      const claimed = await client.query(`execute claim (1, 15000, 100, '{}', '{}', 0, 0)`);
      expect(claimed.rows.filter(({ envelope }) => envelope !== null)).toHaveLength(100);
      const { rows } = await client.query(`
        select sum(seq_tup_read)::int as scanned, sum(idx_scan)::int as look_ups
        from pg_stat_xact_user_tables where relname like 'outbox_events%'`);
      expect(rows).toEqual([{ scanned: 0, look_ups: lookUps }]);
    } finally {
      await client.end();
    }
  });
});

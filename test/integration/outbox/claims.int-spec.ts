import { setTimeout as pause } from 'node:timers/promises';
import { PinoLogger } from 'nestjs-pino';
import pg from 'pg';
import { connectionSettings } from '../../../src/infra/database/data-source.js';
import { GateLimits } from '../../../src/infra/gates/provider-gate.policy.js';
import { ProviderGates } from '../../../src/infra/gates/provider-gates.service.js';
import { type Claim, Claims } from '../../../src/infra/outbox/claims.js';
import { Completions } from '../../../src/infra/outbox/completions.js';
import { PINNED_PLANS } from '../../../src/infra/outbox/deliveries.queries.js';
import { FairQueue } from '../../../src/infra/outbox/fair-queue.js';
import { Pipeline } from '../../../src/infra/outbox/pipeline.js';
import { TroubleLog } from '../../../src/infra/outbox/trouble-log.js';
import { eventually } from '../../support/eventually.js';
import { OutboxHarness } from '../../support/outbox-harness.js';

const INSTANCE = 1;
const ROOM = 100;
const silent = new PinoLogger({ pinoHttp: { level: 'silent' } });
const idsOf = ({ deliveries }: Claim) => deliveries.map(({ deliveryId }) => deliveryId);

let outbox: OutboxHarness;
beforeAll(async () => {
  outbox = await OutboxHarness.start();
});
afterAll(() => outbox.stop());
const pipelined = (settings: pg.PoolConfig) =>
  new pg.Pool({ ...connectionSettings(outbox.url, 'test'), ...settings, pipeline: true });

describe('claims', () => {
  let pool: pg.Pool;
  let claims: Claims;
  beforeEach(() => {
    pool = pipelined({ options: PINNED_PLANS, max: 2 });
    const gates = new ProviderGates(silent, new GateLimits());
    claims = new Claims(pool, pool, new FairQueue(), gates, { leaseMs: 15_000, tenantShare: 1_000 });
  });
  afterEach(async () => {
    await pool.end();
    await outbox.db.query('truncate infra.outbox_deliveries');
  });

  it('follow one another on one connection without waiting for the answers, and bring each row once', async () => {
    await outbox.insertRows(250);
    expect(claims.isStraightOn).toBe(false);
    const brought = await Promise.all([1, 2, 3].map(() => claims.next(INSTANCE, ROOM)));
    expect(claims.isStraightOn).toBe(true);
    expect(pool.totalCount).toBe(1);
    expect(brought.map(({ deliveries, isFull }) => [deliveries.length, isFull])).toEqual([
      [ROOM, true],
      [ROOM, true],
      [50, false],
    ]);
    const ids = brought.flatMap(idsOf);
    expect(new Set(ids).size).toBe(250);
    expect(ids).toEqual(ids.toSorted((one, other) => Number(one) - Number(other)));
  });

  it('go back for a row whose lane came free while a claim was under way that had passed it by', async () => {
    await outbox.insertRows(200);
    // Behind the first rows of their lanes, and before what the claim under way will come to.
    const seconds = await outbox.insertRows(10, { available: "now() - interval '1 second'" });
    await outbox.insertRows(100, { keyPrefix: 'later', available: "now() - interval '100 milliseconds'" });
    const completions = new Completions(pool, new TroubleLog(silent), {
      batchSize: 10,
      passedOver: () => claims.passedOver,
      onMore: (next) => claims.lookBack(next),
      onLeasesLost: () => {},
    });
    const first = await claims.next(INSTANCE, ROOM);
    const held = await outbox.holdUp('new.fence <> old.fence');
    try {
      const underWay = claims.next(INSTANCE, 2 * ROOM);
      await eventually(async () => (await held.count()) === 1, { label: 'the claim is held up' });
      await Promise.all(first.deliveries.slice(0, 10).map((delivery) => completions.complete(delivery)));
      await held.letGo();
      expect((await underWay).deliveries).toHaveLength(2 * ROOM);
    } finally {
      await held.remove();
    }
    const { deliveries } = await claims.next(INSTANCE, ROOM);
    expect(deliveries.map(({ event }) => event.eventId).toSorted()).toEqual(seconds.toSorted());
  });
});

describe('a pipeline', () => {
  let pool: pg.Pool;
  let pipeline: Pipeline;
  beforeEach(() => {
    pool = pipelined({ max: 1 }).on('error', () => {});
    pipeline = new Pipeline(pool);
  });
  afterEach(() => pool.end());
  const send = (text: string) => pipeline.query<[unknown]>({ text, rowMode: 'array' });
  const pid = async () => (await send('select pg_backend_pid()')).rows[0]?.[0] as number;

  it('lets a failure be that of one statement, and goes on with another connection', async () => {
    const outcomes = await Promise.allSettled([send('select 1 / 0'), pid()]);
    expect(outcomes.map(({ status }) => status)).toEqual(['rejected', 'fulfilled']);
    const [, before] = outcomes;
    expect(await pid()).not.toBe(before?.status === 'fulfilled' && before.value);
  });

  it('fails whatever is under way on a connection that breaks, and goes on with another one', async () => {
    const before = await pid();
    const underWay = Promise.allSettled([send('select pg_sleep(10)'), send('select 1')]);
    await pause(50);
    await outbox.db.query('select pg_terminate_backend($1)', [before]);
    expect((await underWay).map(({ status }) => status)).toEqual(['rejected', 'rejected']);
    expect(await pid()).not.toBe(before);
  });

  it('says so where there is no connection to be had, and gets one when there is', async () => {
    const elsewhere = pipelined({ max: 1, connectionTimeoutMillis: 50 });
    const other = new Pipeline(elsewhere);
    const ask = () => other.query<[number]>({ text: 'select 1', rowMode: 'array' });
    const only = await elsewhere.connect();
    expect((await Promise.allSettled([ask(), ask()])).map(({ status }) => status)).toEqual(['rejected', 'rejected']);
    only.release();
    expect((await ask()).rows).toEqual([[1]]);
    await elsewhere.end();
  });
});

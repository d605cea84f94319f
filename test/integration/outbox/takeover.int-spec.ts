import { setTimeout as pause } from 'node:timers/promises';
import type { PinoLogger } from 'nestjs-pino';
import pg from 'pg';
import { metrics } from '../../../src/common/metrics/metrics.js';
import { Database } from '../../../src/infra/database/database.js';
import { consumeOnce } from '../../../src/infra/outbox/consume-once.js';
import type { Delivery } from '../../../src/infra/outbox/delivery.js';
import { FairQueue } from '../../../src/infra/outbox/fair-queue.js';
import { LeaseKeeper } from '../../../src/infra/outbox/lease-keeper.js';
import { LIVENESS_LOCK_CLASS } from '../../../src/infra/outbox/outbox-session.js';
import { eventually } from '../../support/eventually.js';
import { FIRST, OutboxHarness, type OutboxProcess } from '../../support/outbox-harness.js';
import { TcpProxy } from '../../support/tcp-proxy.js';

async function counter(name: 'outbox_leases_lost_total' | 'outbox_rescues_total'): Promise<number> {
  const metric = await metrics.registry.getSingleMetric(name)?.get();
  return metric?.values[0]?.value ?? 0;
}

/** Long enough for a claim that should not be. */
const CLAIM_MS = 100;

describe('taking over', () => {
  let outbox: OutboxHarness;
  let proxy: TcpProxy;
  beforeAll(async () => {
    outbox = await OutboxHarness.start();
    proxy = await TcpProxy.start({ targets: () => [Number(new URL(outbox.url).port)] });
  });
  afterAll(async () => {
    await outbox.stop();
    await proxy.stop();
  });
  afterEach(async () => {
    for (const process of [...outbox.processes]) await outbox.stopProcess(process);
    await outbox.db.query('truncate infra.outbox_deliveries, infra.outbox_dead_letters');
  });

  /** An instance as another process would have it; `client` is its session. */
  async function otherInstance(): Promise<{ id: number; client: pg.Client }> {
    const client = new pg.Client({ connectionString: outbox.url });
    await client.connect();
    const { rows } = await client.query(
      `with born as (insert into infra.outbox_instances (role) values ('worker') returning instance_id)
       select instance_id, pg_advisory_lock($1, instance_id) from born`,
      [LIVENESS_LOCK_CLASS],
    );
    return { id: rows[0].instance_id, client };
  }

  it('takes rows over when their owner loses its life, and not before', async () => {
    const other = await otherInstance();
    const app = await outbox.process('survivor', { OUTBOX_POLL_MS: '60000' });
    await outbox.insertRows(5, { owner: other.id, available: "now() + interval '1 hour'" });
    await app.publish('own', 99);
    await eventually(() => app.handlers.ends.length === 1, { label: 'its own row is handled' });
    const rescues = await counter('outbox_rescues_total');
    await other.client.end();
    await eventually(() => app.handlers.ends.length === 6, { label: 'the rows are taken over' });
    expect(await counter('outbox_rescues_total')).toBe(rescues + 5);
    expect(await outbox.count('infra.outbox_instances')).toBe(1);
  });

  it('takes rows over by the end of their lease when the owner still seems alive', async () => {
    const other = await otherInstance();
    const app = await outbox.process('survivor', { OUTBOX_POLL_MS: '100' });
    await outbox.insertRows(2, { owner: other.id, available: "now() + interval '1 second'" });
    await eventually(() => app.handlers.ends.length === 2, { label: 'the lease runs out' });
    await other.client.end();
  });

  it('frees rows whose owner was never registered', async () => {
    const app = await outbox.process('survivor', { OUTBOX_POLL_MS: '60000' });
    const started: number[] = [];
    app.handlers.behave[FIRST] = async () => {
      started.push((await outbox.db.query('select started from infra.outbox_deliveries')).rows[0].started);
    };
    await outbox.insertRows(1, { owner: 2_000_000_000, available: "now() + interval '1 hour'" });
    await eventually(() => app.handlers.ends.length === 1, { label: 'the orphan is delivered' });
    // It may have ended its process: its starts count.
    expect(started).toEqual([1]);
  });

  it('gives back what it owns without holding it, and leaves alone what it holds', async () => {
    const app = await outbox.process('owner', { OUTBOX_POLL_MS: '60000' });
    let finish = () => {};
    const finished = new Promise<void>((resolve) => {
      finish = resolve;
    });
    app.handlers.behave[FIRST] = ({ payload }) => (payload.n === 50 ? finished : undefined);
    await app.publish('held', 50);
    await outbox.insertRows(1, { owner: app.dispatcher.instanceId ?? 0, available: "now() + interval '1 hour'" });
    await eventually(() => app.handlers.ends.some(({ n }) => n === 0), {
      label: 'the stray is delivered',
    });
    finish();
    await outbox.drained();
    expect(app.handlers.starts.filter(({ n }) => n === 50)).toHaveLength(1);
  });

  it('renews the leases of what it has held for a while, and leaves new ones as they are', async () => {
    const other = await otherInstance();
    const [leaseMs, queue] = [10_000, new FairQueue()];
    await outbox.insertRows(2, { owner: other.id, available: `now() + interval '${leaseMs} milliseconds'` });
    const { rows } = await outbox.db.query(
      'select delivery_id, fence from infra.outbox_deliveries order by delivery_id',
    );
    const ages = [leaseMs / 2, 0];
    for (const [n, { delivery_id: deliveryId, fence }] of rows.entries()) {
      const heldSince = performance.now() - (ages[n] ?? 0);
      queue.push({ deliveryId, fence, heldSince, event: { tenantId: 't' } } as Delivery);
    }
    const leases = async () =>
      (
        await outbox.db.query('select leased_until as until from infra.outbox_deliveries order by delivery_id')
      ).rows.map(({ until }) => until.getTime());
    const before = await leases();
    await new LeaseKeeper(outbox.db, outbox.db, queue, 2 * leaseMs, {} as PinoLogger).renew(other.id);
    const after = await leases();
    expect(after[0]).toBeGreaterThanOrEqual(before[0] + leaseMs);
    expect(after[1]).toBe(before[1]);
    await other.client.end();
  });

  it('refuses and counts the late result of a previous owner', async () => {
    const app = await outbox.process('slow');
    const finishers: (() => void)[] = [];
    app.handlers.behave[FIRST] = () => new Promise<void>((resolve) => void finishers.push(resolve));
    await app.publish('fenced', 1);
    const lost = await counter('outbox_leases_lost_total');
    await outbox.db.query(
      "update infra.outbox_deliveries set fence = fence + 1, owner = null, leased_until = now() + interval '1 hour'",
    );
    finishers[0]?.();
    await eventually(async () => (await counter('outbox_leases_lost_total')) === lost + 1, {
      label: 'the late result is counted',
    });
    expect(await outbox.count('infra.outbox_deliveries')).toBe(1);
  });

  it('makes a dead letter of a delivery that did not survive three starts, and blames nobody else', async () => {
    const app = await outbox.process('survivor', { OUTBOX_POLL_MS: '60000' });
    const other = await otherInstance();
    await outbox.insertRows(1, {
      keyPrefix: 'killer',
      owner: other.id,
      available: "now() + interval '1 hour'",
      rescued: 5,
      started: 4,
    });
    await outbox.insertRows(1, {
      keyPrefix: 'bystander',
      owner: other.id,
      available: "now() + interval '1 hour'",
      rescued: 3,
      started: 0,
    });
    await outbox.insertRows(1, {
      keyPrefix: 'suspect',
      owner: other.id,
      available: "now() + interval '1 hour'",
      rescued: 2,
      started: 2,
    });
    await other.client.end();
    await outbox.drained();
    expect(app.handlers.ends.map(({ key }) => key).sort()).toEqual(['bystander0', 'suspect0']);
    const { rows } = await outbox.db.query('select ordering_key, reason, error_code from infra.outbox_dead_letters');
    expect(rows).toEqual([{ ordering_key: 'killer0', reason: 'process_killer', error_code: 'outbox.process_killer' }]);
  });

  it('records the start of a delivery that was taken over before it runs', async () => {
    const app = await outbox.process('survivor');
    const other = await otherInstance();
    const recorded: number[] = [];
    app.handlers.behave[FIRST] = async () => {
      recorded.push((await outbox.db.query('select started from infra.outbox_deliveries')).rows[0].started);
    };
    await outbox.insertRows(1, { owner: other.id, available: "now() + interval '1 hour'" });
    await other.client.end();
    await outbox.drained();
    expect(recorded).toEqual([1]);
  });

  it('keeps its rows through the loss of its session: no second run, no blame', async () => {
    const app = await outbox.process('cut');
    const before = app.dispatcher.instanceId;
    let finish = () => {};
    const finished = new Promise<void>((resolve) => {
      finish = resolve;
    });
    app.handlers.behave[FIRST] = () => finished;
    await app.publish('cut', 1);
    const lost = await counter('outbox_leases_lost_total');
    for (let cut = 0; cut < 5; cut++) {
      const instance = app.dispatcher.instanceId;
      await outbox.terminateBackends('nevermisscall-outbox-listener');
      await eventually(() => app.dispatcher.instanceId !== undefined && app.dispatcher.instanceId !== instance, {
        label: 'a new session',
      });
    }
    finish();
    await outbox.drained();
    expect(app.dispatcher.instanceId).not.toBe(before);
    expect(app.handlers.starts).toMatchObject([{ n: 1, attempt: 1 }]);
    expect(await counter('outbox_leases_lost_total')).toBe(lost);
    expect(await outbox.count('infra.outbox_instances')).toBe(1);
    expect(await outbox.count('infra.outbox_dead_letters')).toBe(0);
  });

  it('runs nothing twice when a crash of the server forgets claims, whoever comes back first', async () => {
    const throughProxy = Object.assign(new URL(outbox.url), { host: `127.0.0.1:${proxy.port}` });
    const late = await outbox.process('late', { DATABASE_URL: throughProxy.href });
    const finishers: (() => void)[] = [];
    const wait = () => new Promise<void>((resolve) => void finishers.push(resolve));
    late.handlers.behave[FIRST] = wait;
    await outbox.insertRows(30);
    late.dispatcher.wake();
    await eventually(() => finishers.length === 20, { label: 'as many as may are under way' });
    const early = await outbox.process('early');
    early.handlers.behave[FIRST] = ({ payload }) => (payload.n === 30 ? wait() : undefined);
    await early.publish('held', 30);
    await eventually(() => finishers.length === 21, { label: 'so is one of the other process' });
    const before = [late, early].map(({ dispatcher }) => dispatcher.instanceId);
    const lost = await counter('outbox_leases_lost_total');

    const client = await outbox.db.connect();
    await client.query('begin; lock table infra.outbox_deliveries in exclusive mode');
    await proxy.refuse();
    await client.query(`update infra.outbox_deliveries set owner = null, fence = fence - 1, leased_until = '-infinity'
      where fence > 0`);
    await outbox.terminateBackends();
    await client.query('commit');
    client.release();
    const isBack = ({ dispatcher }: OutboxProcess) => ![undefined, ...before].includes(dispatcher.instanceId);
    await eventually(() => isBack(early), { label: 'one is back' });
    for (const finish of finishers.splice(0, 10)) finish();
    await early.publish('unclaimed', 31);
    await eventually(() => early.handlers.ends.some(({ n }) => n === 31), { label: 'what needs no claim is run' });
    await outbox.insertRows(1, { keyPrefix: 'new' });
    early.dispatcher.wake();
    await pause(CLAIM_MS);
    await proxy.accept();
    await eventually(() => isBack(late), { label: 'the other is back' });
    await pause(CLAIM_MS);
    const finishAll = async () => {
      for (const finish of finishers.splice(0)) finish();
      return (await outbox.count('infra.outbox_deliveries')) === 0;
    };
    await eventually(finishAll, { deadlineMs: 15_000, label: 'everything is handled' });

    const keys = [late, early].flatMap(({ handlers }) => handlers.starts).map(({ key }) => key);
    expect(keys).toHaveLength(33);
    expect(new Set(keys).size).toBe(33);
    expect(late.handlers.starts.filter(({ key }) => key.startsWith('row'))).toHaveLength(30);
    expect(await counter('outbox_leases_lost_total')).toBe(lost);
    expect(early.lines('has waited for other processes')).toHaveLength(1);
  });

  it('loses nothing and has every effect once while all its connections are cut repeatedly', async () => {
    const workers = [await outbox.process('one'), await outbox.process('two')];
    const effectOf = (worker: OutboxProcess) => {
      worker.handlers.behave[FIRST] = async ({ eventId, payload }, { attempt }) => {
        await worker.context
          .get(Database)
          .transaction(async (tx) => {
            if (!(await consumeOnce(tx, FIRST, eventId))) return;
            await tx.query('insert into public.effects values ($1, $2, $3)', [FIRST, payload.n, worker.name]);
          })
          .catch((error: unknown) => {
            // An outage is not the event's fault; the last attempt must not be spent on it.
            if (attempt < 6) throw error;
          });
      };
    };
    workers.forEach(effectOf);
    const published: number[] = [];
    for (let n = 0; n < 150; n++) {
      if (n % 15 === 7) expect(await outbox.terminateBackends()).toBeGreaterThan(0);
      const worker = workers[n % 2] as OutboxProcess;
      // What is refused is not promised; what was acknowledged is.
      await worker.publish(`kill${n % 20}`, n).then(
        () => published.push(n),
        () => undefined,
      );
    }
    expect(published.length).toBeGreaterThan(100);
    await outbox.drained(12_000);
    const { rows } = await outbox.db.query<{ n: number }>('select n from public.effects order by n');
    const effects = rows.map(({ n }) => n);
    expect(new Set(effects).size).toBe(effects.length);
    expect(published.filter((n) => !effects.includes(n))).toEqual([]);
    expect(await outbox.count('infra.outbox_dead_letters')).toBe(0);
  });

  it('loses nothing with the connection that claims are on, one behind the other', async () => {
    await outbox.insertRows(100);
    const { rows } = await outbox.db.query('select min(delivery_id) + 20 as second from infra.outbox_deliveries');
    const held = await outbox.holdUp(`new.fence <> old.fence and new.delivery_id >= ${rows[0].second}`);
    const app = await outbox.process('only', { OUTBOX_BATCH_SIZE: '20' });
    try {
      await eventually(async () => (await held.count()) === 1, { label: 'the second claim is held up' });
      await held.terminate();
    } finally {
      await held.remove();
    }
    await outbox.drained();
    expect(app.lines('outbox claim').map(({ message }) => message)).toEqual([
      'outbox claim fails',
      'outbox claim works again',
    ]);
    expect(app.handlers.starts.map(({ n }) => n).toSorted((one, other) => one - other)).toEqual([...Array(100).keys()]);
  });

  it('says once that the database is away, and once that it is back', async () => {
    const app = await outbox.process('quiet', { OUTBOX_POLL_MS: '20' });
    const name = new URL(outbox.url).pathname.slice(1);
    const maintenance = new pg.Client({ connectionString: process.env['TEST_POSTGRES_URL'] });
    await maintenance.connect();
    await maintenance.query(`alter database ${name} allow_connections false`);
    await outbox.terminateBackends();
    await eventually(() => app.dispatcher.instanceId === undefined, { label: 'the session is gone' });
    const awayUntil = performance.now() + 1_500;
    await eventually(
      () => {
        for (let i = 0; i < 100; i++) app.dispatcher.nudge();
        return performance.now() > awayUntil;
      },
      { label: 'a storm of wakes' },
    );
    await maintenance.query(`alter database ${name} allow_connections true`);
    await maintenance.end();
    await eventually(() => app.dispatcher.instanceId !== undefined, { label: 'a new session' });
    await app.publish('back', 1);
    await outbox.drained();
    expect(app.lines('has no session')).toHaveLength(1);
    expect(app.lines('dispatcher up')).toHaveLength(1);
    expect(app.log.filter(({ level }) => level === 'warn').length).toBeLessThan(6);
  });
});

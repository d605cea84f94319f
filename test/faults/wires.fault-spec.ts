import { eventually } from '../support/eventually.js';
import { FIRST, OutboxHarness, OutboxProcess } from '../support/outbox-harness.js';
import { TcpProxy } from '../support/tcp-proxy.js';

let outbox: OutboxHarness;
let proxy: TcpProxy;
beforeAll(async () => {
  outbox = await OutboxHarness.start();
  const { port } = new URL(outbox.url);
  proxy = await TcpProxy.start({ targets: () => [Number(port)], postgres: true });
});
afterEach(async () => {
  proxy.heal();
  for (const process of [...outbox.processes]) await outbox.stopProcess(process);
  await outbox.db.query('truncate infra.outbox_deliveries, infra.outbox_history');
});
afterAll(async () => {
  await outbox.stop();
  await proxy.stop();
});

/** A process behind the proxy, and one that only publishes. */
async function pair(env: Record<string, string> = {}) {
  const url = new URL(outbox.url);
  url.port = String(proxy.port);
  const worker = await OutboxProcess.start(url.href, 'worker', { ROLE: 'worker', ...env });
  outbox.processes.push(worker);
  return { web: await outbox.process('web', { ROLE: 'web' }), worker };
}

async function allHandled(worker: OutboxProcess, numbers: number[], deadlineMs = 10_000): Promise<void> {
  await eventually(() => worker.handlers.ends.length >= numbers.length, { deadlineMs, label: 'everything is handled' });
  await outbox.drained(deadlineMs);
  expect(worker.handlers.ends.map(({ n }) => n)).toEqual(numbers);
}

/** The connections that there are fall silent; new ones work. */
function silence(which: (listens: boolean) => boolean): number {
  const silent = new Set(proxy.connections.filter((wire) => which(wire.listens)));
  proxy.swallow(['up', 'down'], (wire) => silent.has(wire));
  return silent.size;
}

it('row 8: a listener that fell silent costs a poll, and is replaced', async () => {
  const { web, worker } = await pair({ OUTBOX_POLL_MS: '300' });
  const before = worker.dispatcher.instanceId;
  expect(silence((listens) => listens)).toBe(1);
  await web.publish('silent', 1);
  await allHandled(worker, [1]);
  await eventually(() => worker.dispatcher.instanceId !== undefined && worker.dispatcher.instanceId !== before, {
    deadlineMs: 15_000,
    label: 'it listens again',
  });
  await web.publish('silent', 2);
  await allHandled(worker, [1, 2]);
});

it('row 9: notifications that never come cost a poll', async () => {
  const { web, worker } = await pair({ OUTBOX_POLL_MS: '300' });
  proxy.withholdNotifications = true;
  for (const n of [1, 2, 3]) {
    await web.publish('unheard', n);
    await allHandled(worker, [1, 2, 3].slice(0, n));
  }
});

it('row 10: a database far away slows everything and breaks nothing', async () => {
  const { web, worker } = await pair({ OUTBOX_POLL_MS: '300' });
  proxy.latencyMs = 100;
  const before = worker.dispatcher.instanceId;
  for (let n = 0; n < 10; n += 1) await web.publish('far', n);
  await allHandled(
    worker,
    Array.from({ length: 10 }, (_, n) => n),
    30_000,
  );
  expect(worker.dispatcher.instanceId).toBe(before);
});

it('row 10: connections that fell silent are given up by their deadlines, and no loop waits for them for ever', async () => {
  const { web, worker } = await pair({ OUTBOX_POLL_MS: '300' });
  await web.publish('before', 0);
  await allHandled(worker, [0]);
  expect(silence(() => true)).toBeGreaterThan(1);
  for (const n of [1, 2, 3]) await web.publish('stuck', n);
  await allHandled(worker, [0, 1, 2, 3], 40_000);
}, 60_000);

it('row 15: a payload of a megabyte is a payload, and holds nobody up', async () => {
  const { web, worker } = await pair();
  await outbox.insertRows(1, { keyPrefix: 'large', available: "now() + interval '1 hour'" });
  await outbox.db.query(
    `update infra.outbox_events set payload = payload || jsonb_build_object('filler', repeat('x', 1000000))
     where ordering_key = 'large0'`,
  );
  // So wide a one is not enclosed in its delivery.
  await outbox.db.query('update infra.outbox_deliveries set available_at = now(), envelope = null');
  await web.publish('small', 1);
  await eventually(() => worker.handlers.ends.length === 2, { deadlineMs: 10_000, label: 'both are handled' });
  await outbox.drained();
});

it('row 20: a held snapshot and readers stop nobody, the end of the process included', async () => {
  const { web, worker } = await pair();
  const holders = await Promise.all(
    [1, 2, 3].map(async () => {
      const client = await outbox.db.connect();
      await client.query('begin isolation level repeatable read; select count(*) from infra.outbox_deliveries');
      return client;
    }),
  );
  try {
    const numbers = Array.from({ length: 120 }, (_, n) => n);
    for (const n of numbers) await web.publish('held', n);
    await allHandled(worker, numbers, 30_000);
    await outbox.stopProcess(worker);
    expect(await outbox.count('infra.outbox_instances')).toBe(0);
  } finally {
    for (const client of holders) {
      await client.query('rollback');
      client.release();
    }
  }
}, 60_000);

it('row 22: a hot conversation whose head fails keeps its order, and only itself waiting', async () => {
  const { web, worker } = await pair();
  const order: string[] = [];
  worker.handlers.behave[FIRST] = ({ orderingKey, payload }, { attempt }) => {
    order.push(`${orderingKey} ${payload.n}`);
    if (orderingKey === 'hot' && payload.n === 0 && attempt < 7) throw new Error('not this one');
  };
  const numbers = Array.from({ length: 120 }, (_, n) => n);
  for (const n of numbers) await web.publish('hot', n);
  await web.publish('cool', 1);
  await outbox.drained(30_000);
  expect(order.filter((run) => run === 'cool 1')).toHaveLength(1);
  const hot = order.filter((run) => run.startsWith('hot'));
  expect(hot).toEqual([...Array<string>(6).fill('hot 0'), ...numbers.slice(1).map((n) => `hot ${n}`)]);
  const { rows } = await outbox.db.query('select ordering_key, reason from infra.outbox_dead_letters');
  expect(rows).toEqual([{ ordering_key: 'hot', reason: 'attempts_exhausted' }]);
  await outbox.db.query('truncate infra.outbox_dead_letters');
}, 60_000);

it('row 23: whoever takes over while the result is being written takes over nothing', async () => {
  const GATE = 7_236_198;
  await outbox.db.query(`
    create function public.gate() returns trigger language plpgsql as $$ begin
      perform pg_advisory_xact_lock_shared(${GATE}); return old; end $$;
    create trigger gate before delete on infra.outbox_deliveries for each row execute function gate()`);
  const holder = await outbox.db.connect();
  try {
    await holder.query('select pg_advisory_lock($1)', [GATE]);
    const { web, worker } = await pair();
    await web.publish('raced', 1);
    const isWaiting = () =>
      outbox.count(`pg_stat_activity where wait_event = 'advisory' and query like '%outbox_history%'`);
    await eventually(async () => (await isWaiting()) === 1, { label: 'the result is being written' });
    const other = await outbox.process('other', { ROLE: 'worker' });
    await proxy.refuse();
    await eventually(async () => (await outbox.count(`pg_stat_activity where wait_event = 'transactionid'`)) === 1, {
      deadlineMs: 10_000,
      label: 'the other is taking over',
    });
    await holder.query('select pg_advisory_unlock($1)', [GATE]);
    await outbox.drained();
    await proxy.accept();
    await eventually(() => worker.dispatcher.instanceId !== undefined, { deadlineMs: 15_000, label: 'it is back' });
    await web.publish('raced', 2);
    await outbox.drained();
    const runs = [...worker.handlers.starts, ...other.handlers.starts].map(({ n }) => n);
    expect(runs).toEqual(expect.arrayContaining([1, 2]));
    expect(runs).toHaveLength(2);
    expect(await outbox.count('infra.outbox_history')).toBe(2);
  } finally {
    holder.release();
    await outbox.db.query('drop function public.gate() cascade');
  }
}, 60_000);

it('row 24: ids beyond 2^31 go the whole way', async () => {
  await outbox.db.query('alter sequence infra.outbox_deliveries_delivery_id_seq restart with 2147483647');
  const { web, worker } = await pair();
  const finishers: (() => void)[] = [];
  worker.handlers.behave[FIRST] = ({ payload }, { attempt }) => {
    if (payload.n === 1 && attempt < 3) throw new Error('again');
    if (payload.n === 2) throw new Error('never');
    if (payload.n === 3) return new Promise<void>((resolve) => void finishers.push(resolve));
  };
  for (const n of [0, 1, 2, 3]) await web.publish(`far ${n}`, n);
  await eventually(() => finishers.length === 1, { label: 'one is held' });
  // Adopted by its next session, renewed, and then finished.
  await outbox.terminateBackends('nevermisscall-outbox-listener');
  const owned = `infra.outbox_deliveries where owner = any (select instance_id from infra.outbox_instances) and ordering_key = 'far 3'`;
  await eventually(async () => (await outbox.count(owned)) === 1, { deadlineMs: 10_000, label: 'it is adopted' });
  finishers[0]?.();
  await outbox.drained(20_000);
  const { rows } = await outbox.db.query<{ id: string }>(
    'select delivery_id as id from infra.outbox_history order by 1',
  );
  expect(rows.map(({ id }) => id)).toEqual(['2147483647', '2147483648', '2147483650']);
  const dead = await outbox.db.query('select delivery_id from infra.outbox_dead_letters');
  expect(dead.rows).toEqual([{ delivery_id: '2147483649' }]);
  await outbox.db.query('truncate infra.outbox_dead_letters');
}, 60_000);

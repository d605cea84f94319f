import { setTimeout as pause } from 'node:timers/promises';
import { jest } from '@jest/globals';
import pg from 'pg';
import { metrics } from '../../../src/common/metrics/metrics.js';
import { Snooze } from '../../../src/infra/outbox/outbox.errors.js';
import { eventually } from '../../support/eventually.js';
import { FIRST, OutboxHarness, type OutboxProcess } from '../../support/outbox-harness.js';

describe('several processes on one database', () => {
  let outbox: OutboxHarness;
  beforeAll(async () => {
    outbox = await OutboxHarness.start();
  });
  afterAll(() => outbox.stop());
  afterEach(async () => {
    for (const process of [...outbox.processes]) await outbox.stopProcess(process);
  });

  const handled = (process: OutboxProcess, n: number, deadlineMs: number) =>
    eventually(() => process.handlers.ends.some((end) => end.n === n), {
      deadlineMs,
      label: `${process.name} handles ${n}`,
    });

  const sample = async (name: 'outbox_dispatcher_up' | 'outbox_notifications_total', labels = {}) => {
    const { values } = (await metrics.registry.getSingleMetric(name)?.get()) ?? { values: [] };
    return (
      values.find((one) => Object.entries(labels).every(([label, value]) => one.labels[label] === value))?.value ?? 0
    );
  };
  const notifications = (kind: 'sent' | 'spared' | 'received') => sample('outbox_notifications_total', { kind });
  const allNotifications = () =>
    Promise.all([notifications('sent'), notifications('spared'), notifications('received')] as const);

  it('wakes the workers by notification when a web process publishes', async () => {
    const web = await outbox.process('web', { ROLE: 'web' });
    const worker = await outbox.process('worker', { ROLE: 'worker', OUTBOX_POLL_MS: '60000' });
    expect(web.dispatcher.instanceId).toBeUndefined();
    expect(await sample('outbox_dispatcher_up')).toBe(1);
    const [sent, spared, received] = await allNotifications();
    // One after the other: the first might be found by the claim every start begins with. The cron is the only other
    // way, and it runs each ten seconds.
    for (const n of [1, 2, 3]) {
      await web.publish(`cross${n}`, n);
      await handled(worker, n, 3_000);
    }
    await outbox.drained();
    expect(web.handlers.starts).toEqual([]);
    // Of two within 20 ms the second may go out with the third.
    const told = async () => {
      const [sentNow, sparedNow, receivedNow] = await allNotifications();
      return { published: sentNow + sparedNow - sent - spared, missed: sentNow - sent - (receivedNow - received) };
    };
    const isToldAll = ({ published, missed }: Awaited<ReturnType<typeof told>>) => published >= 3 && missed === 0;
    await eventually(async () => isToldAll(await told()), { label: 'all that was to be told is received' });
    await outbox.stopProcess(worker);
    expect(await sample('outbox_dispatcher_up')).toBe(0);
  });

  it('tells the others in the packet of the commit, and then not more than once in 20 ms', async () => {
    const web = await outbox.process('web', { ROLE: 'web' });
    const listener = await outbox.db.connect();
    const tellers: number[] = [];
    const note = ({ processId }: { processId: number }) => void tellers.push(processId);
    listener.on('notification', note);
    await listener.query('listen nmc_outbox');
    await web.publish('told', 1);
    await eventually(() => tellers.length === 1, { label: 'the first notification' });
    const { rows } = await outbox.db.query('select application_name from pg_stat_activity where pid = any ($1)', [
      tellers,
    ]);
    expect(rows).toEqual([{ application_name: 'nevermisscall' }]);

    const startedAt = performance.now();
    const spared = await notifications('spared');
    await Promise.all(Array.from({ length: 50 }, (_, n) => web.publish(`told${n}`, n)));
    const intervals = Math.ceil((performance.now() - startedAt) / 20);
    await pause(50);
    expect(tellers.length).toBeGreaterThan(1);
    expect(tellers.length).toBeLessThanOrEqual(1 + intervals + 1);
    expect(await notifications('spared')).toBeGreaterThan(spared);
    await listener.query('unlisten *');
    listener.off('notification', note);
    listener.release();
    await outbox.db.query('delete from infra.outbox_deliveries');
  });

  it('looks again by itself for as long as those who publish may not tell it', async () => {
    const web = await outbox.process('web', { ROLE: 'web' });
    const worker = await outbox.process('worker', { ROLE: 'worker', OUTBOX_POLL_MS: '60000' });
    const claims = () =>
      query.mock.calls.filter(([config]) => (config as { name?: string }).name === 'outbox-claim').length;
    const query = jest.spyOn(pg.Client.prototype, 'query');
    try {
      await web.publish('busy', 1);
      await handled(worker, 1, 3_000);
      await eventually(() => claims() >= 3, { label: 'further claims' });
      await pause(100);
      const settled = claims();
      await pause(100);
      expect(claims()).toBe(settled);
    } finally {
      query.mockRestore();
    }
  });

  it('waits for the disk with what must survive the server, and not with leases', async () => {
    await outbox.db.query(`
      create table public.commits (operation text, waits text);
      create function public.note_commit() returns trigger language plpgsql as $$ begin
        insert into public.commits values (tg_op, current_setting('synchronous_commit'));
        return null;
      end $$;
      create trigger noted after insert or update or delete on infra.outbox_deliveries
        for each row execute function public.note_commit()`);
    const web = await outbox.process('web', { ROLE: 'web' });
    await outbox.process('worker', { ROLE: 'worker' });
    await web.publish('durable', 1);
    await outbox.drained();
    await outbox.db.query('drop trigger noted on infra.outbox_deliveries');
    const { rows } = await outbox.db.query('select distinct operation, waits from public.commits order by operation');
    expect(rows).toEqual([
      { operation: 'DELETE', waits: 'on' },
      { operation: 'INSERT', waits: 'on' },
      { operation: 'UPDATE', waits: 'off' },
    ]);
  });

  it('finds by polling what no notification announced', async () => {
    const worker = await outbox.process('worker', { ROLE: 'worker', OUTBOX_POLL_MS: '200' });
    await outbox.insertRows(1, { keyPrefix: 'silent' });
    await handled(worker, 0, 5_000);
  });

  it('keeps delivering while its listener is cut again and again', async () => {
    const web = await outbox.process('web', { ROLE: 'web' });
    const worker = await outbox.process('worker', { ROLE: 'worker', OUTBOX_POLL_MS: '250' });
    for (let n = 0; n < 10; n++) {
      await outbox.terminateBackends('nevermisscall-outbox-listener');
      await web.publish(`cut${n}`, n);
    }
    await outbox.drained();
    expect(worker.handlers.ends).toHaveLength(10);
  });

  it('keeps the order of every lane under retries, snoozes and two processes, and lets no lane wait for another', async () => {
    const web = await outbox.process('web', { ROLE: 'web' });
    const workers = [await outbox.process('one', { ROLE: 'worker' }), await outbox.process('two', { ROLE: 'worker' })];
    const running = new Set<string>();
    const order = new Map<string, number[]>();
    const overlaps: string[] = [];
    for (const worker of workers) {
      worker.handlers.behave[FIRST] = async ({ orderingKey, payload }, { attempt }) => {
        if (running.has(orderingKey)) overlaps.push(orderingKey);
        running.add(orderingKey);
        await pause(Math.random() * 3);
        running.delete(orderingKey);
        const luck = Math.random();
        if (luck < 0.2 && attempt < 4) throw new Error('again');
        if (luck > 0.8) throw new Snooze(Math.random() * 20, 'later');
        order.set(orderingKey, [...(order.get(orderingKey) ?? []), payload.n]);
      };
    }
    await outbox.insertRows(1, { keyPrefix: 'blocked', available: "now() + interval '1 hour'" });
    for (let n = 0; n < 12; n++) {
      await Promise.all(
        Array.from({ length: 8 }, (_, lane) => (n % 2 ? web : (workers[lane % 2] ?? web)).publish(`lane${lane}`, n)),
      );
    }
    await eventually(
      async () => (await outbox.count("infra.outbox_deliveries where ordering_key like 'lane%'")) === 0,
      {
        deadlineMs: 30_000,
        label: 'all lanes are worked off',
      },
    );
    expect(overlaps).toEqual([]);
    expect([...order.keys()]).toHaveLength(8);
    for (const seen of order.values()) expect(seen).toEqual(Array.from({ length: 12 }, (_, n) => n));
    await outbox.db.query('delete from infra.outbox_deliveries');
  });

  it('stops gracefully: what runs finishes, what has not started goes to the other process at once', async () => {
    const leaving = await outbox.process('leaving', { OUTBOX_CONCURRENCY: '2' });
    let finish = () => {};
    const finished = new Promise<void>((resolve) => {
      finish = resolve;
    });
    leaving.handlers.behave[FIRST] = () => finished;
    for (let n = 0; n < 20; n++) await leaving.publish(`stop${n}`, n);
    expect(leaving.handlers.starts).toHaveLength(2);
    const staying = await outbox.process('staying', { OUTBOX_POLL_MS: '60000' });
    expect(staying.handlers.starts).toEqual([]);

    const stopped = outbox.stopProcess(leaving);
    await eventually(() => staying.handlers.ends.length === 18, {
      deadlineMs: 7_000,
      label: 'the unstarted rows are taken over while the running ones still run',
    });
    expect(leaving.handlers.ends).toEqual([]);
    finish();
    await stopped;
    await outbox.drained();
    expect(leaving.handlers.ends.map(({ n }) => n)).toEqual([0, 1]);
    expect(staying.handlers.starts).toHaveLength(18);
    expect(await outbox.count('infra.outbox_instances')).toBe(1);
  });

  it('delivers what is committed while, and after, its process stops', async () => {
    const leaving = await outbox.process('leaving');
    const staying = await outbox.process('staying', { ROLE: 'worker' });
    let stopping: Promise<void> | undefined;
    await leaving.publish('late', 77, {
      also: async () => {
        // Born leased to a process that is gone before the commit.
        stopping = leaving.dispatcher.stop();
        await stopping;
      },
    });
    await handled(staying, 77, 20_000);
    expect(leaving.handlers.starts).toEqual([]);
    await leaving.publish('later', 78);
    await handled(staying, 78, 20_000);
  });

  it('stops in bounded time when a handler ignores its signal, and burns no attempt', async () => {
    const leaving = await outbox.process('leaving');
    const reasons: unknown[] = [];
    leaving.handlers.behave[FIRST] = (_event, { signal }) => {
      signal.addEventListener('abort', () => reasons.push(signal.reason.reason));
      return new Promise<void>(() => {});
    };
    await leaving.publish('stubborn', 1);
    const startedAt = performance.now();
    await outbox.stopProcess(leaving);
    expect(performance.now() - startedAt).toBeLessThan(12_000);
    expect(reasons).toEqual(['shutting_down']);
    const { rows } = await outbox.db.query(
      'select owner, finished, available_at <= now() as due from infra.outbox_deliveries',
    );
    expect(rows).toEqual([{ owner: null, finished: 0, due: true }]);
    const next = await outbox.process('next');
    await outbox.drained();
    expect(next.handlers.ends).toMatchObject([{ n: 1, attempt: 1 }]);
  });
});

import { setTimeout as pause } from 'node:timers/promises';
import { jest } from '@jest/globals';
import pg from 'pg';
import { metrics } from '../../../src/common/metrics/metrics.js';
import { LANE_MARGIN_MS, PINNED_PLANS, YIELD } from '../../../src/infra/outbox/deliveries.queries.js';
import { OutboxCron } from '../../../src/infra/outbox/outbox.cron.js';
import { eventually } from '../../support/eventually.js';
import { FIRST, type Handlers, Later, OutboxHarness, type OutboxProcess } from '../../support/outbox-harness.js';

const HOUR_MS = 3_600_000;

describe('what is due, and what is scheduled', () => {
  let outbox: OutboxHarness;
  let app: OutboxProcess;
  beforeAll(async () => {
    outbox = await OutboxHarness.start();
    app = await outbox.process('all', { OUTBOX_POLL_MS: '50' });
  });
  afterAll(() => outbox.stop());
  beforeEach(async () => {
    await outbox.db.query('truncate infra.outbox_deliveries, infra.outbox_dead_letters');
    for (const { handlers } of outbox.processes) {
      handlers.starts.length = 0;
      handlers.ends.length = 0;
      handlers.behave = {};
    }
  });
  /** Of all processes, each in its own order. */
  const all = (what: 'starts' | 'ends') => outbox.processes.flatMap(({ handlers }) => handlers[what]);
  const everywhere = (behave: Handlers['behave'][string]) => {
    for (const { handlers } of outbox.processes) handlers.behave[FIRST] = behave;
  };

  async function backlog() {
    await app.context.get(OutboxCron).readBacklog();
    const read = async (name: string) => (await metrics.registry.getSingleMetric(name)?.get())?.values[0]?.value;
    return {
      lag: await read('outbox_dispatch_lag_seconds'),
      depth: await read('worker_queue_depth'),
      dead: await read('outbox_dead_letters'),
    };
  }

  it('counts neither lag nor depth for a delivery that is not due, and does not deliver it', async () => {
    expect(await backlog()).toEqual({ lag: 0, depth: 0, dead: 0 });
    await app.publish('scheduled', 1, { contract: Later, due: new Date(Date.now() + HOUR_MS) });
    await app.publish('now', 2);
    await eventually(() => app.handlers.ends.length === 1, { label: 'what is due is delivered' });
    await eventually(async () => (await outbox.count('infra.outbox_deliveries')) === 1, { label: 'and only that' });
    expect(await backlog()).toEqual({ lag: 0, depth: 0, dead: 0 });
    expect(app.handlers.starts).toMatchObject([{ n: 2 }]);
  });

  it('delivers it when it is due', async () => {
    const due = new Date(Date.now() + 400);
    const startedAt: number[] = [];
    app.handlers.behave[FIRST] = () => void startedAt.push(Date.now());
    await app.publish('soon', 1, { contract: Later, due });
    await outbox.drained();
    expect(startedAt[0]).toBeGreaterThanOrEqual(due.getTime());
  });

  it('measures lag from the oldest due row, those being retried included, and counts the due ones', async () => {
    const waiting = "now() + interval '1 hour'";
    await outbox.insertRows(3, { keyPrefix: 'due', available: waiting });
    await outbox.insertRows(2, { keyPrefix: 'future', available: waiting });
    await outbox.db.query(`
      update infra.outbox_deliveries set due_at = case ordering_key
        when 'due0' then now() - interval '100 seconds' when 'due1' then now() - interval '50 seconds'
        when 'due2' then now() else now() + interval '1 hour' end`);
    await outbox.db.query(`
      insert into infra.outbox_dead_letters (delivery_id, event_id, event_name, subscriber, tenant_id, ordering_key,
        created_at, attempts, reason, error_code, fingerprint)
      select 1, gen_random_uuid(), 'x', 'x', gen_random_uuid(), 'x', now() - interval '1 day', 6, 'x', 'x', 'x'`);
    const { lag, depth, dead } = await backlog();
    expect(depth).toBe(3);
    expect(dead).toBe(1);
    expect(lag).toBeGreaterThanOrEqual(100);
    expect(lag).toBeLessThan(105);
  });

  it('keeps nobody waiting behind a scheduled delivery of the same lane', async () => {
    await app.publish('lane', 1, { contract: Later, due: new Date(Date.now() + HOUR_MS) });
    await app.publish('lane', 2);
    await app.publish('lane', 3);
    await eventually(() => app.handlers.ends.length === 2, { label: 'the lane goes on' });
    expect(app.handlers.ends.map(({ n }) => n)).toEqual([2, 3]);
  });

  it('does not run a scheduled delivery beside a later one of its lane that is already running', async () => {
    const later = Promise.withResolvers<void>();
    const other = await outbox.process('other', { OUTBOX_POLL_MS: '50' });
    everywhere(({ payload: { n } }) => (n === 2 ? later.promise : undefined));
    await app.publish('late', 1, { contract: Later, due: new Date(Date.now() + HOUR_MS) });
    await app.publish('late', 2);
    await eventually(() => all('starts').length === 1, { label: 'the later one is running' });
    // Claimed, not handed over: the one before it could have fallen due before it was seen.
    expect(await outbox.count('infra.outbox_deliveries where owner is not null and fence = 1')).toBe(1);
    await outbox.db.query(
      'update infra.outbox_deliveries set due_at = now(), available_at = now() where owner is null',
    );
    await other.publish('yardstick', 3);
    await outbox.insertRows(1, { keyPrefix: 'yardstick' });
    // Claimed after the row in question, so that row was passed over.
    await eventually(() => all('ends').some(({ key }) => key === 'yardstick0'), { label: 'a claim happens' });
    expect(await outbox.count('infra.outbox_deliveries where event_name = $1 and owner is null', [Later.name])).toBe(1);
    later.resolve();
    await outbox.drained();
  });

  it('keeps a place in its lane for a delivery that is about to fall due', async () => {
    const order: number[] = [];
    everywhere(({ payload: { n } }) => void order.push(n));
    await app.publish('soon', 1, { contract: Later, due: new Date(Date.now() + LANE_MARGIN_MS / 2) });
    await app.publish('soon', 2);
    await outbox.drained();
    expect(order).toEqual([1, 2]);
  });

  it('yields a lane to a delivery that fell due, and was taken, while the claim of a later one was under way', async () => {
    const running = Promise.withResolvers<void>();
    everywhere(() => running.promise);
    await app.publish('taken', 1, { contract: Later, due: new Date(Date.now() + HOUR_MS) });
    const [first] = (await outbox.db.query('select delivery_id as id from infra.outbox_deliveries')).rows;
    const held = await outbox.holdUp(`new.fence <> old.fence and new.delivery_id <> ${first.id}`);
    const sent = jest.spyOn(pg.Client.prototype, 'query');
    try {
      await outbox.insertRows(1, { keyPrefix: 'taken', oneLane: true });
      const isHeldUp = async () => (await held.count()) >= 1;
      await eventually(isHeldUp, { label: 'the claim of the later one is held up' });
      await pause(LANE_MARGIN_MS);
      const falls = 'update infra.outbox_deliveries set due_at = now(), available_at = now() where delivery_id = $1';
      await outbox.db.query(falls, [first.id]);
      await eventually(() => all('starts').length === 1, { label: 'the earlier one is running' });
      await held.letGo();
      const given = async () => (await outbox.count('infra.outbox_deliveries where fence = 2 and owner is null')) === 1;
      await eventually(given, { label: 'the later one is given back' });
      expect(all('starts')).toHaveLength(1);
      const yielding = sent.mock.calls.findIndex((call) => (call as unknown[])[0] === YIELD);
      // Whatever parts with a row waits for the disk.
      expect(sent.mock.contexts[yielding]).toMatchObject({ connectionParameters: { options: PINNED_PLANS } });
      running.resolve();
      await outbox.drained();
      expect(all('starts')).toHaveLength(2);
    } finally {
      sent.mockRestore();
      running.resolve();
      await held.remove();
    }
  });
});

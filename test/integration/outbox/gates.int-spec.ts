import { GateLimits } from '../../../src/infra/gates/provider-gate.policy.js';
import { ProviderGates } from '../../../src/infra/gates/provider-gates.service.js';
import { Snooze } from '../../../src/infra/outbox/outbox.errors.js';
import { eventually } from '../../support/eventually.js';
import { FIRST, OutboxHarness, type OutboxProcess } from '../../support/outbox-harness.js';

const gate = 'twilio:a';
const FAILURES_TO_OPEN = 5;

describe('deliveries behind a gate', () => {
  let outbox: OutboxHarness;
  beforeAll(async () => {
    outbox = await OutboxHarness.start();
  });
  afterEach(() => Promise.all([...outbox.processes].map((process) => outbox.stopProcess(process))));
  afterAll(() => outbox.stop());

  async function start(name: string, limits: Partial<GateLimits>): Promise<OutboxProcess> {
    const process = await outbox.process(name, { OUTBOX_CONCURRENCY: '1', OUTBOX_POLL_MS: '50' });
    Object.assign(process.context.get(GateLimits), limits);
    return process;
  }

  it('wait while it is shut, are asked through one at a time, and follow in order when it opens', async () => {
    const app = await start('one', { coolDownMs: 400, coolDownCapMs: 400 });
    const gates = app.context.get(ProviderGates);
    let isDown = true;
    app.handlers.behave[FIRST] = ({ payload }) => {
      if (!payload.gate) return;
      gates.enter('twilio', 'a')({ kind: isDown ? 'down' : 'answered' });
      if (isDown) throw new Snooze(1, 'down');
    };
    const tried = () => app.handlers.starts.filter(({ key }) => key.startsWith('gated'));
    // A claim that still waits for its connection asks as if nothing had shut, and would touch what is published meanwhile.
    await outbox.insertRows(1, { keyPrefix: 'first' });
    await eventually(() => app.handlers.ends.some(({ key }) => key === 'first0'), {
      label: 'claims have a connection',
    });
    for (let n = 0; n < FAILURES_TO_OPEN; n += 1) await app.publish(`gated${n}`, n, { gate });
    await eventually(() => gates.slots(gate) <= 1, { label: 'the breaker opens' });

    for (let n = 100; n < 120; n += 1) await app.publish(`gated${n}`, n, { gate });
    for (let n = 0; n < 5; n += 1) await app.publish(`free${n}`, n);
    const free = () => app.handlers.ends.filter(({ key }) => key.startsWith('free'));
    await eventually(() => free().length === 5, { label: 'those that need not wait' });
    const { probes } = await eventually(
      () => (tried().length >= FAILURES_TO_OPEN + 3 ? { probes: tried().length - FAILURES_TO_OPEN } : null),
      { deadlineMs: 15_000, label: 'three probes' },
    );
    // One a cool-down; a poll each 50 ms would have asked through dozens of times.
    expect(probes).toBeLessThanOrEqual(5);
    // All but those, and what a claim that was under way when it shut has brought.
    const { rows } = await outbox.db.query<{ n: number }>(
      `select (e.payload ->> 'n')::int as n from infra.outbox_deliveries d join infra.outbox_events e using (event_id)
       where d.gate is not null and d.fence = 0 and d.owner is null`,
    );
    const neverHeld = rows.map(({ n }) => n);
    expect(neverHeld.length).toBeGreaterThan(10);
    expect(await outbox.count('infra.outbox_deliveries where finished > 0')).toBe(0);

    isDown = false;
    await outbox.drained(15_000);
    const ended = app.handlers.ends.filter(({ key }) => key.startsWith('gated')).map(({ n }) => n);
    expect(ended.toSorted((a, b) => a - b)).toEqual([0, 1, 2, 3, 4, ...Array.from({ length: 20 }, (_, i) => 100 + i)]);
    // One of them may have been the last probe that failed.
    const inOrder = ended.filter((n) => neverHeld.includes(n) && tried().filter((run) => run.n === n).length === 1);
    expect(inOrder.length).toBeGreaterThan(8);
    expect(inOrder).toEqual(inOrder.toSorted((a, b) => a - b));
  });

  it('are given back when it shuts, to a process that is let through', async () => {
    const one = await start('one', { coolDownMs: 60_000, coolDownCapMs: 60_000 });
    let finish = () => {};
    one.handlers.behave[FIRST] = () =>
      new Promise<void>((resolve) => {
        finish = resolve;
      });
    await one.publish('busy', 0);
    await eventually(() => one.handlers.starts.length === 1, { label: 'its only slot is taken' });
    for (let n = 1; n <= 3; n += 1) await one.publish(`held${n}`, n, { gate });
    const held = 'infra.outbox_deliveries where gate is not null and owner is not null';
    expect(await outbox.count(held)).toBe(3);

    const gates = one.context.get(ProviderGates);
    for (let n = 0; n < FAILURES_TO_OPEN; n += 1) gates.enter('twilio', 'a')({ kind: 'down' });
    await eventually(async () => (await outbox.count(held)) === 0, { label: 'they are given back' });
    const two = await start('two', {});
    const done = () => two.handlers.ends.filter(({ key }) => key.startsWith('held')).map(({ n }) => n);
    await eventually(() => done().length === 3, { label: 'the other process does them' });
    expect(done()).toEqual([1, 2, 3]);
    finish();
    await outbox.drained();
    expect(one.handlers.starts).toHaveLength(1);
  });

  it('are given back when it shuts while the claim that brings them is under way', async () => {
    const held = await outbox.holdUp('new.owner is not null');
    const one = await start('one', { coolDownMs: 60_000, coolDownCapMs: 60_000 });
    const web = await outbox.process('web', { ROLE: 'web' });
    await web.publish('claimed', 1, { gate });
    await eventually(async () => (await held.count()) > 0, { label: 'a claim waits' });
    const gates = one.context.get(ProviderGates);
    for (let n = 0; n < FAILURES_TO_OPEN; n += 1) gates.enter('twilio', 'a')({ kind: 'down' });
    await held.letGo();
    await eventually(
      async () => (await outbox.count('infra.outbox_deliveries where fence >= 2 and owner is null')) === 1,
      {
        label: 'it is given back',
      },
    );
    expect(one.handlers.starts).toEqual([]);
    const two = await start('two', {});
    await eventually(() => two.handlers.ends.length === 1, { label: 'the other process does it' });
    await outbox.drained();
    await held.remove();
  });
});

import { type Delivery, laneOf } from './delivery.js';
import { FairQueue } from './fair-queue.js';

let nextId = 1;
function delivery(tenantId: string, orderingKey: string, extra: Partial<Delivery> = {}): Delivery {
  const deliveryId = String(nextId++);
  const event = { tenantId, orderingKey } as Delivery['event'];
  const base = { deliveryId, fence: 0, rescued: 0, started: 0, finished: 0, subscriber: 's', isFirst: true };
  const lane = laneOf(extra.subscriber ?? base.subscriber, orderingKey);
  return { ...base, waitedMs: 0, heldSince: 0, gate: undefined, lane, event, ...extra };
}
const filled = (...deliveries: Delivery[]) => {
  const queue = new FairQueue();
  for (const each of deliveries) queue.push(each);
  return queue;
};
const takeAll = (queue: FairQueue) => {
  const taken: Delivery[] = [];
  for (let next = queue.take(); next; next = queue.take()) taken.push(next);
  return taken;
};

describe('the fair queue', () => {
  it('lets tenants take turns, whatever the size of their backlogs', () => {
    const flood = Array.from({ length: 5 }, (_, i) => delivery('a', `a${i}`));
    const queue = filled(...flood, delivery('b', 'b0'), delivery('c', 'c0'), delivery('b', 'b1'));
    expect(takeAll(queue).map(({ event }) => event.orderingKey)).toEqual([
      'a0',
      'b0',
      'c0',
      'a1',
      'b1',
      'a2',
      'a3',
      'a4',
    ]);
  });

  it('lets a newcomer wait for at most one turn of the others', () => {
    const queue = filled(delivery('a', 'a0'), delivery('a', 'a1'), delivery('a', 'a2'));
    queue.take();
    queue.push(delivery('b', 'b0'));
    expect(takeAll(queue).map(({ event }) => event.orderingKey)).toEqual(['a1', 'b0', 'a2']);
  });

  it('runs a lane one row at a time and in order, and passes over it meanwhile', () => {
    const [first, second, elsewhere] = [delivery('a', 'k'), delivery('a', 'k'), delivery('a', 'l')];
    const queue = filled(first, second, elsewhere);
    expect(takeAll(queue)).toEqual([first, elsewhere]);
    queue.release(first);
    expect(takeAll(queue)).toEqual([second]);
  });

  it('knows lanes by subscriber: the same key of two subscribers runs at once', () => {
    const queue = filled(delivery('a', 'k'), delivery('a', 'k', { subscriber: 't' }));
    expect(takeAll(queue)).toHaveLength(2);
  });

  it('answers nothing while it holds only busy lanes, and goes on when one is free', () => {
    const [first, second] = [delivery('a', 'k'), delivery('b', 'k')];
    const queue = filled(first, second);
    expect(queue.take()).toBe(first);
    expect(queue.take()).toBeUndefined();
    expect(queue.size).toBe(2);
    queue.release(first);
    expect(queue.take()).toBe(second);
  });

  it('counts what it holds, running ones included, in all and by tenant', () => {
    const queue = filled(delivery('a', '1'), delivery('a', '2'), delivery('b', '3'));
    const taken = queue.take() as Delivery;
    expect([queue.size, queue.heldOf('a'), queue.heldOf('b'), queue.heldOf('c')]).toEqual([3, 2, 1, 0]);
    expect(queue.crowding(2)).toEqual(['a']);
    queue.release(taken);
    queue.release(taken);
    expect([queue.size, queue.heldOf('a')]).toEqual([2, 1]);
    expect(queue.crowding(2)).toEqual([]);
  });

  it('has room again when a handler is over, and the lane only when the result is written', () => {
    const queue = filled(delivery('a', 'k'), delivery('a', 'k'), delivery('b', 'other'));
    expect(queue.roomWithin(3)).toBe(0);
    const taken = queue.take() as Delivery;
    queue.finish(taken);
    queue.finish(taken);
    expect([queue.size, queue.heldOf('a'), queue.held.length, queue.roomWithin(3)]).toEqual([2, 2, 3, 1]);
    expect(queue.take()?.event.orderingKey).toBe('other');
    expect(queue.take()).toBeUndefined();
    queue.release(taken);
    expect([queue.size, queue.heldOf('a'), queue.held.length]).toEqual([2, 1, 2]);
    expect(queue.take()?.event.orderingKey).toBe('k');
  });

  it('has no room for more than twice as much as may wait or run, whatever is handled', () => {
    const queue = new FairQueue();
    for (let n = 0; n < 4; n++) {
      expect(queue.roomWithin(2)).toBe(Math.min(2, 4 - n));
      queue.push(delivery('a', `${n}`));
      queue.finish(queue.take() as Delivery);
    }
    expect(queue.roomWithin(2)).toBe(0);
  });

  it('keeps a newer claim of a row when the older run of it ends', () => {
    const older = delivery('a', 'k');
    const newer = { ...older, fence: 2 };
    const queue = filled(older);
    queue.take();
    queue.push(newer);
    expect(queue.take()).toBeUndefined();
    queue.release(older);
    expect(queue.held).toEqual([newer]);
    expect(queue.take()).toBe(newer);
  });

  it('hands out what has not started, or what is not to be kept, and nothing that runs', () => {
    const [running, kept, gone] = [delivery('a', '1'), delivery('a', '2'), delivery('b', '3')];
    const queue = filled(running, kept, gone);
    queue.take();
    expect(queue.drain((each) => each === kept)).toEqual([gone]);
    expect(queue.held).toEqual([running, kept]);
    expect(queue.drain()).toEqual([kept]);
    expect(queue.take()).toBeUndefined();
    expect(queue.held).toEqual([running]);
  });

  it('keeps suspects of having killed processes apart, the least suspected first', () => {
    const [worst, least] = [delivery('a', '1', { started: 3 }), delivery('b', '2', { started: 2 })];
    const onceHit = delivery('c', '3', { rescued: 1, started: 1 });
    const queue = filled(worst, least, onceHit);
    expect(takeAll(queue)).toEqual([onceHit]);
    expect([queue.takeSuspect(), queue.takeSuspect(), queue.takeSuspect()]).toEqual([least, worst, undefined]);
  });

  it('lets nothing overtake a suspect in its lane', () => {
    const suspect = delivery('a', '1', { started: 2 });
    const behind = delivery('a', '1');
    const queue = filled(suspect, behind);
    expect(queue.take()).toBeUndefined();
    expect(queue.takeSuspect()).toBe(suspect);
    expect(queue.take()).toBeUndefined();
    queue.release(suspect);
    expect(queue.take()).toBe(behind);
  });

  it('tells when a suspect has waited for long enough', () => {
    const queue = filled(delivery('a', '1', { started: 2, heldSince: 1_000 }));
    expect(queue.hasOverdueSuspect(2_900)).toBe(false);
    expect(queue.hasOverdueSuspect(3_100)).toBe(true);
  });

  it('gives suspects back with the rest', () => {
    const suspect = delivery('a', '1', { started: 2 });
    const queue = filled(suspect);
    expect(queue.drain()).toEqual([suspect]);
    expect([queue.takeSuspect(), queue.size]).toEqual([undefined, 0]);
  });

  describe('behind a gate', () => {
    const GATE = { gate: 'twilio:a' };
    const slots = { now: 0 };
    const gated = (...deliveries: Delivery[]) => {
      const queue = new FairQueue(() => slots.now);
      for (const each of deliveries) queue.push(each);
      return queue;
    };

    it('lets only so many run as there are slots, in order, and the others wait for nobody', () => {
      const rows = Array.from({ length: 3 }, (_, i) => delivery('a', `a${i}`, GATE));
      const free = delivery('a', 'free');
      const queue = gated(...rows, free);
      slots.now = 0;
      expect(takeAll(queue)).toEqual([free]);
      slots.now = 1;
      expect(takeAll(queue)).toEqual([rows[0]]);
      expect(queue.isShut([undefined, GATE.gate])).toBe(true);
      queue.release(rows[0] ?? free);
      expect(takeAll(queue)).toEqual([rows[1]]);
      slots.now = 9;
      expect(takeAll(queue)).toEqual([rows[2]]);
      expect(queue.isShut([GATE.gate])).toBe(false);
    });

    it('counts what is held, and forgets what is given back', () => {
      const queue = gated(delivery('a', 'a0', GATE), delivery('a', 'a1', GATE), delivery('a', 'a2'));
      expect(queue.heldFor(GATE.gate)).toBe(2);
      expect(queue.drain(({ gate }) => gate !== GATE.gate)).toHaveLength(2);
      expect(queue.heldFor(GATE.gate)).toBe(0);
      expect(queue.size).toBe(1);
    });

    it('keeps nobody waiting for a suspect that may not run', () => {
      slots.now = 0;
      const suspect = delivery('a', 'a0', { ...GATE, started: 2 });
      const queue = gated(suspect);
      expect(queue.hasOverdueSuspect(60_000)).toBe(false);
      expect(queue.takeSuspect()).toBeUndefined();
      slots.now = 1;
      expect(queue.hasOverdueSuspect(60_000)).toBe(true);
      expect(queue.takeSuspect()).toBe(suspect);
    });
  });
});

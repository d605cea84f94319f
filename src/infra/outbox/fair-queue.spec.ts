import type { Delivery } from './delivery.js';
import { FairQueue } from './fair-queue.js';

let nextId = 1;
function delivery(tenantId: string, orderingKey: string, extra: Partial<Delivery> = {}): Delivery {
  const deliveryId = String(nextId++);
  const event = { tenantId, orderingKey } as Delivery['event'];
  const base = { deliveryId, fence: 0, rescued: 0, started: 0, finished: 0, subscriber: 's', isFirst: true };
  return { ...base, waitedMs: 0, heldSince: 0, event, ...extra };
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

  it('runs suspects of having killed a process one at a time, beside everything else', () => {
    const suspects = [delivery('a', '1', { started: 1 }), delivery('b', '2', { started: 2 })] as const;
    const innocent = delivery('c', '3', { rescued: 1 });
    const queue = filled(...suspects, innocent);
    expect(takeAll(queue)).toEqual([suspects[0], innocent]);
    queue.release(suspects[0]);
    expect(takeAll(queue)).toEqual([suspects[1]]);
  });

  it('runs the least suspected first, whoever’s turn it is, but never out of the order of its lane', () => {
    const worst = delivery('a', '1', { started: 3 });
    const behind = delivery('a', '1', { started: 1 });
    const least = delivery('b', '2', { started: 2 });
    const queue = filled(worst, behind, least);
    const order: Delivery[] = [];
    for (let next = queue.take(); next; next = queue.take()) {
      order.push(next);
      queue.release(next);
    }
    expect(order).toEqual([least, worst, behind]);
  });
});

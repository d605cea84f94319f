import { laneOf } from '../../../dist/infra/outbox/delivery.js';
import { FairQueue } from '../../../dist/infra/outbox/fair-queue.js';

/** @param {number} i */
function delivery(i) {
  const [tenantId, orderingKey] = [`t${i % 7}`, `k${i}`];
  const event = { tenantId, orderingKey, payload: Array.from({ length: 128 }, Math.random) };
  const counts = { fence: 0, rescued: 0, started: 0, finished: 0, waitedMs: i, heldSince: 0 };
  return {
    ...counts,
    deliveryId: String(i),
    subscriber: 's',
    isFirst: true,
    gate: undefined,
    lane: laneOf('s', orderingKey),
    event,
  };
}

const STAYING = 50;

/** Deliveries that go through the queue of a process, past some that stay. */
export function start() {
  const queue = new FairQueue();
  for (let i = 0; i < STAYING; i++) queue.push(delivery(-1 - i));
  const step = (i) => {
    queue.push(delivery(i));
    queue.release(queue.take());
  };
  const end = () => {
    if (queue.size !== STAYING) throw new Error(`${queue.size} deliveries are held`);
  };
  return { steps: 20_000, step, end };
}

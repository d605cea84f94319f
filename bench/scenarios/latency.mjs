import { setTimeout as pause } from 'node:timers/promises';
import { loadContender } from '../contenders/contender.mjs';
import { contend, inChild } from '../lib/contend.mjs';
import { contendersTable, rounds } from '../lib/format.mjs';
import { until, within } from '../lib/wait.mjs';
import { latencyCells, latencyHeader } from '../lib/waits.mjs';

const IDLE_JOBS = 200;
const RATE_PER_SECOND = 200;
const BUDGET_MS = 330_000;
const WARM_UP = 100;
const ARRIVAL_DEADLINE_MS = 10_000;

/** @type {import('../lib/contend.mjs').Entry[]} */
const LINE_UP = [
  {
    name: 'floor: one statement that commits one row',
    against: true,
    contender: 'raw',
    settings: { transaction: 'one statement' },
  },
  {
    name: 'floor: begin, lock, insert, commit',
    contender: 'raw',
    settings: { transaction: 'four trips' },
  },
  {
    name: 'ours as shipped: defaults, a log line each, tracing on',
    contender: 'ours',
    settings: {},
    instrumented: true,
  },
  {
    name: 'ours, defaults, as quiet as the others',
    contender: 'ours',
    settings: { env: { LOG_LEVEL: 'warn' } },
  },
  {
    name: 'ours, quiet, with a row of the business in the same transaction',
    contender: 'ours',
    settings: { env: { LOG_LEVEL: 'warn' }, withBusiness: true },
  },
  {
    name: 'graphile-worker, 10 jobs',
    contender: 'graphile-worker',
    settings: { concurrentJobs: 10 },
  },
  {
    name: 'graphile-worker, 10 jobs, local queue 11, batching 0',
    contender: 'graphile-worker',
    settings: { concurrentJobs: 10, localQueue: { size: 11 }, completeJobBatchDelay: 0, failJobBatchDelay: 0 },
  },
  {
    name: 'pg-boss, notify, 2 workers, batch 100',
    contender: 'pg-boss',
    settings: { notify: true, localConcurrency: 2, batchSize: 100, pollingIntervalSeconds: 0.5 },
  },
];

export const scenario = {
  run: ({ server, plan }) =>
    contend(LINE_UP, { what: 'latency', plan, rounds: 5, budgetMs: BUDGET_MS }, (entry) =>
      inChild(server, entry, { scenario: 'latency', seconds: plan.seconds }),
    ),

  section(results, { seconds }) {
    const floor = results.get(LINE_UP.find(({ against }) => against)?.name ?? '')?.values ?? [];
    return `## Latency

Milliseconds from just before the enqueue is sent to the start of its handler, in one process;
${rounds(floor.length)} taken together, in brackets the least and the greatest p50 of a round. Idle: ${IDLE_JOBS} jobs a round, one at a
time, with uneven pauses. At ${RATE_PER_SECOND}/s: ${seconds} s a round, an open loop. Everybody enqueues with
one statement, a transaction of its own; what an outbox is for, an event beside a row of the business, is a row of its own. "x" is p50 to the p50 of the first row.

${contendersTable(results, latencyHeader(`${RATE_PER_SECOND}/s`), (values) => latencyCells(values, floor))}

pg-boss without notify, which is its default, waits for its poll: two seconds, half a second at the least.`;
  },
};

/**
 * Milliseconds from just before the enqueue is sent to the start of its handler, in one process: first one job at a
 * time, then at the rate for `seconds`, whether or not earlier ones have been answered.
 */
export async function play({ contender: name, url, settings, seconds }) {
  const contender = await loadContender(name);
  await contender.install(url, settings);
  const sentAt = [];
  const waits = [];
  const arrivals = new Map();
  const running = await contender.start(url, settings, async (n) => {
    if (waits[n] !== undefined) throw new Error(`job ${n} was run twice, with nothing failing`);
    waits[n] = performance.now() - sentAt[n];
    arrivals.get(n)?.();
  });
  const send = (n) => {
    sentAt[n] = performance.now();
    return running.enqueue(n);
  };

  const idleEnd = WARM_UP + IDLE_JOBS;
  for (let n = 0; n < idleEnd; n++) {
    const arrival = new Promise((resolve) => arrivals.set(n, () => resolve(undefined)));
    await Promise.all([send(n), within(ARRIVAL_DEADLINE_MS, arrival)]);
    // An uneven pause: a closed loop would fall into step with whoever polls.
    await pause(Math.random() * 10);
  }

  const rateEnd = idleEnd + RATE_PER_SECOND * seconds;
  const enqueues = [];
  const from = performance.now();
  for (let n = idleEnd; n < rateEnd; ) {
    const due = idleEnd + Math.floor(((performance.now() - from) / 1_000) * RATE_PER_SECOND) + 1;
    for (; n < Math.min(due, rateEnd); n++) enqueues.push(send(n));
    await pause(1);
  }
  await Promise.all(enqueues);
  await until(ARRIVAL_DEADLINE_MS, () => Object.keys(waits).length === rateEnd);
  await running.stop();
  return { idle: waits.slice(WARM_UP, idleEnd), rate: waits.slice(idleEnd) };
}

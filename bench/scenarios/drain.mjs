import pg from 'pg';
import { loadContender } from '../contenders/contender.mjs';
import { contend, inChild } from '../lib/contend.mjs';
import { contendersTable, ratio, rounds, whole } from '../lib/format.mjs';
import { median } from '../lib/statistics.mjs';
import { until, within } from '../lib/wait.mjs';

const DRAIN_DEADLINE_MS = 40_000;
const BUDGET_MS = 420_000;
/** In one process: a worker runs for weeks, and what is compiled while it does counts for the first ones only. */
const DRAINS = 6;
const MEASURED = 3;

/** @type {import('../lib/contend.mjs').Entry[]} */
const LINE_UP = [
  {
    name: 'raw lease + delete, batch 100, 4 connections',
    against: true,
    contender: 'raw',
    settings: { batch: 100, connections: 4 },
  },
  {
    name: 'ours as shipped: defaults (batch 100, concurrency 20), a log line each, tracing on',
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
    name: 'ours, defaults, quiet, all jobs of one tenant',
    contender: 'ours',
    settings: { env: { LOG_LEVEL: 'warn' }, tenants: 1 },
  },
  {
    name: 'ours, batch 500, concurrency 100, quiet',
    contender: 'ours',
    settings: { env: { LOG_LEVEL: 'warn', OUTBOX_BATCH_SIZE: '500', OUTBOX_CONCURRENCY: '100' } },
  },
  {
    name: 'ours, batch 1000, concurrency 200, quiet',
    contender: 'ours',
    settings: { env: { LOG_LEVEL: 'warn', OUTBOX_BATCH_SIZE: '1000', OUTBOX_CONCURRENCY: '200' } },
  },
  {
    name: 'graphile-worker, the quickest settings found here (100 jobs, local queue 1000, batching 5 ms)',
    contender: 'graphile-worker',
    settings: {
      concurrentJobs: 100,
      maxPoolSize: 25,
      localQueue: { size: 1000 },
      completeJobBatchDelay: 5,
      failJobBatchDelay: 5,
    },
  },
  {
    name: 'graphile-worker, its benchmark settings (24 jobs, local queue 500, batching 0)',
    contender: 'graphile-worker',
    settings: {
      concurrentJobs: 24,
      maxPoolSize: 25,
      localQueue: { size: 500 },
      completeJobBatchDelay: 0,
      failJobBatchDelay: 0,
    },
  },
  {
    name: 'graphile-worker, its documented starting point (10 jobs, local queue 11, batching 25 ms)',
    contender: 'graphile-worker',
    settings: { concurrentJobs: 10, localQueue: { size: 11 }, completeJobBatchDelay: 25, failJobBatchDelay: 25 },
  },
  {
    name: 'pg-boss, batch 500, 4 workers, burst',
    contender: 'pg-boss',
    settings: { batchSize: 500, localConcurrency: 4, burstWhenBatchFull: true, pollingIntervalSeconds: 0.5 },
  },
];

export const scenario = {
  run: ({ server, plan }) =>
    contend(LINE_UP, { what: 'drain', plan, rounds: 7, budgetMs: BUDGET_MS }, (entry) =>
      inChild(server, entry, { scenario: 'drain', jobs: plan.jobs }),
    ),

  section(results, { jobs }) {
    const of = (/** @type {string} */ name) => (results.get(name)?.values ?? []).flat();
    const floor = LINE_UP.find(({ against }) => against)?.name ?? '';
    const cells = (/** @type {number[][]} */ values) => {
      const rates = values.flat();
      return [
        whole(median(rates)),
        `${whole(Math.min(...rates))}-${whole(Math.max(...rates))}`,
        ratio(median(rates) / median(of(floor))),
      ];
    };
    const fastestFirst = ([a], [b]) => (median(of(b)) || 0) - (median(of(a)) || 0);
    const count = results.get(floor)?.values.length ?? 0;
    return `## Drain

${whole(jobs)} no-op jobs that were there before the contender started, each seen to run exactly once; ${rounds(count)}. Timed from the
first handler's start until the last job is marked as done, in the last ${MEASURED} of ${DRAINS} such drains in one process. Ours:
every job in a lane of its own, 100 tenants unless it says otherwise. graphile-worker and pg-boss with their logs,
schedules and housekeeping off.

${contendersTable(results, ['contender', 'jobs/s, median', 'min-max', 'ratio to raw'], cells, fastestFirst)}`;
  },
};

/**
 * Jobs a second over `jobs` no-op jobs that were there before the contender started, from the first handler's start
 * until every job is marked as done.
 */
export async function play({ contender: name, url, settings, jobs }) {
  const contender = await loadContender(name);
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    await contender.install(url, settings);
    const rates = [];
    for (let n = 0; n < DRAINS; n++) rates.push(await drain(contender, client, url, settings, jobs));
    return rates.slice(-MEASURED);
  } finally {
    await client.end();
  }
}

async function drain(contender, client, url, settings, jobs) {
  await contender.seed(client, jobs, settings);
  await client.query('vacuum analyze');
  await client.query('checkpoint');
  const runs = new Uint8Array(jobs);
  const everyOne = Promise.withResolvers();
  let [started, firstStart] = [0, 0];
  const running = await contender.start(url, settings, async (n) => {
    if (started === 0) firstStart = performance.now();
    runs[n] = (runs[n] ?? 0) + 1;
    if (++started === jobs) everyOne.resolve(undefined);
  });
  await within(DRAIN_DEADLINE_MS, everyOne.promise);
  await until(DRAIN_DEADLINE_MS, async () => !(await client.query(contender.pending)).rows[0].pending);
  const seconds = (performance.now() - firstStart) / 1_000;
  await running.stop();
  if (runs.some((times) => times !== 1)) throw new Error('a job was not run exactly once, with nothing failing');
  return jobs / seconds;
}

import pg from 'pg';
import { loadContender } from '../contenders/contender.mjs';
import { until, within } from '../lib/wait.mjs';

const DRAIN_DEADLINE_MS = 40_000;

/** Its whole line-up; `against` is the row that the others are compared with. */
export const LINE_UP = [
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

/**
 * Jobs a second over `jobs` no-op jobs that were there before the contender started, from the first handler's start
 * until every job is marked as done. A smaller drain before it, in the same process, warms code and connections.
 */
export async function measure({ contender: name, url, settings, jobs }) {
  const contender = await loadContender(name);
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    await contender.install(url, settings);
    await drain(contender, client, url, settings, Math.min(2_000, jobs));
    return { jobsPerSecond: await drain(contender, client, url, settings, jobs) };
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

import { setTimeout as pause } from 'node:timers/promises';
import pg from 'pg';
import { loadContender } from '../contenders/contender.mjs';
import { onStage } from '../lib/actors.mjs';
import { contend } from '../lib/contend.mjs';
import { contendersTable, ms, rounds } from '../lib/format.mjs';
import { startServer } from '../lib/server.mjs';
import { median } from '../lib/statistics.mjs';
import { until } from '../lib/wait.mjs';

const RATE_PER_SECOND = 200;
const HANDLER_MS = 20;
const BEFORE_MS = 2_500;
const SECONDS = 8;
const SETTLED_MS = 8_000;
const BUDGET_MS = 95_000;

/** @type {import('../lib/contend.mjs').Entry[]} */
const LINE_UP = [
  { name: 'ours, defaults', contender: 'ours', settings: { env: { LOG_LEVEL: 'warn' } } },
  { name: 'graphile-worker, 20 jobs', contender: 'graphile-worker', settings: { concurrentJobs: 20 } },
  {
    name: 'graphile-worker, 20 jobs, local queue 21, batching 25 ms',
    contender: 'graphile-worker',
    settings: { concurrentJobs: 20, localQueue: { size: 21 }, completeJobBatchDelay: 25, failJobBatchDelay: 25 },
  },
  {
    name: 'pg-boss, notify, 20 workers',
    contender: 'pg-boss',
    settings: { notify: true, tolerant: true, localConcurrency: 20, pollingIntervalSeconds: 0.5 },
  },
];

/** Postgres is stopped as by a crash and started again while jobs are enqueued and worked off. */
export const scenario = {
  async run({ plan }) {
    const server = await startServer();
    try {
      return await contend(LINE_UP, { what: 'restart', plan, rounds: 2, budgetMs: BUDGET_MS }, async (entry) => {
        const { left } = await loadContender(entry.contender);
        return onStage(server, entry, (stage) => scene(stage, server, left), {
          handlerMs: HANDLER_MS,
          supervised: true,
        });
      });
    } finally {
      await server.stop();
    }
  },

  section(results) {
    const sum = (values, /** @type {string} */ what) => String(values.reduce((total, value) => total + value[what], 0));
    const middle = (values, /** @type {string} */ what) => ms(median(values.map((value) => value[what])));
    const cells = (values) => [
      ...['acknowledged', 'unstarted', 'left', 'twice', 'ends'].map((what) => sum(values, what)),
      ...['downMs', 'firstMs'].map((what) => middle(values, what)),
    ];
    const count = Math.max(...[...results.values()].map(({ values }) => values.length));
    return `## A crash of Postgres

At ${RATE_PER_SECOND}/s and with handlers of ${HANDLER_MS} ms, Postgres is stopped as by a crash (\`immediate\`) and started again at once; sums
of ${rounds(count)} of ${SECONDS} s each. ${SETTLED_MS / 1_000} s after the last enqueue: jobs whose enqueue was acknowledged and that were not started, and jobs
that are not marked as done, run or not, which wait for the contender's rescue. Down: until Postgres takes connections
again; first start: from there to the next start of a handler. Ended: how often the worker's process
ended by itself because of it; it is started again after 0.2 s, as by a supervisor.

${contendersTable(
  results,
  ['contender', 'acknowledged', 'not started', 'left', 'run twice', 'ended', 'down, ms', 'first start, ms'],
  cells,
)}`;
  },
};

async function scene({ url, worker, producer }, server, /** @type {string} */ left) {
  const count = RATE_PER_SECOND * SECONDS;
  const enqueued = producer.enqueue({ from: 0, count, everyMs: [0, 2_000 / RATE_PER_SECOND] });
  enqueued.catch(() => {});
  await pause(BEFORE_MS);
  const { downAt, upAt } = await server.crash();
  const sent = await enqueued;
  const acknowledged = sent.filter(([, , acknowledgedAt]) => acknowledgedAt);
  const settled = () => acknowledged.every(([n]) => worker.starts.has(n));
  await until(SETTLED_MS, settled).catch(() => {});
  const from = performance.now();
  let rows = await countLeft(url, left);
  while (rows > 0 && performance.now() - from < SETTLED_MS) {
    await pause(200);
    rows = await countLeft(url, left);
  }
  const starts = [...worker.starts.values()];
  const firstStart = Math.min(...starts.flat().filter((at) => at > upAt));
  return {
    acknowledged: acknowledged.length,
    unstarted: acknowledged.filter(([n]) => !worker.starts.has(n)).length,
    left: rows,
    ends: worker.ends(),
    twice: starts.filter((times) => times.length > 1).length,
    downMs: upAt - downAt,
    firstMs: firstStart - upAt,
  };
}

async function countLeft(/** @type {string} */ url, /** @type {string} */ left) {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  const { rows } = await client.query(left);
  await client.end();
  return rows[0].left;
}

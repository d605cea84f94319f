import { onStage } from '../lib/actors.mjs';
import { contend } from '../lib/contend.mjs';
import { contendersTable, rounds } from '../lib/format.mjs';
import { latencyCells, latencyHeader } from '../lib/waits.mjs';

const IDLE_JOBS = 150;
const RATE_PER_SECOND = 200;
const WARM_UP = 100;
const BUDGET_MS = 210_000;
const QUIET = { env: { LOG_LEVEL: 'warn' } };

/** @type {import('../lib/contend.mjs').Entry[]} */
const LINE_UP = [
  {
    name: 'floor: an insert, a NOTIFY behind it, a claim',
    contender: 'raw',
    settings: { connections: 1, listen: true },
    against: true,
  },
  { name: 'ours, defaults, as quiet as the others', contender: 'ours', settings: QUIET },
  {
    name: 'ours as shipped: defaults, a log line each, tracing on',
    contender: 'ours',
    settings: {},
    instrumented: true,
  },
  { name: 'graphile-worker, 10 jobs', contender: 'graphile-worker', settings: { concurrentJobs: 10 } },
  {
    name: 'pg-boss, notify, 2 workers, batch 100',
    contender: 'pg-boss',
    settings: { notify: true, localConcurrency: 2, batchSize: 100, pollingIntervalSeconds: 0.5 },
  },
];

/** From an enqueue in one process to the start of its handler in another: nothing is handed over in memory. */
export const scenario = {
  run: ({ server, plan }) =>
    contend(LINE_UP, { what: 'processes', plan, rounds: 5, budgetMs: BUDGET_MS }, (entry) =>
      onStage(server, entry, async ({ worker, producer }) => {
        await worker.waits(await producer.enqueue({ from: 0, count: WARM_UP, everyMs: [2, 10] }));
        const idle = await producer.enqueue({ from: WARM_UP, count: IDLE_JOBS, everyMs: [20, 40] });
        const idleWaits = await worker.waits(idle);
        const count = RATE_PER_SECOND * Math.min(plan.seconds, 5);
        const rate = await producer.enqueue({
          from: WARM_UP + IDLE_JOBS,
          count,
          everyMs: [0, 2_000 / RATE_PER_SECOND],
        });
        return { idle: idleWaits, rate: await worker.waits(rate) };
      }),
    ),

  section(results, { seconds }) {
    const first = [...results.values()][0]?.values ?? [];
    return `## Latency between processes

Milliseconds from just before the enqueue is sent in one process to the start of its handler in another, on the clock
that both share; ${rounds(first.length)}. Idle: ${IDLE_JOBS} jobs a round, 20 to 40 ms apart. At ${RATE_PER_SECOND}/s: ${Math.min(seconds, 5)} s a round. Ours: the enqueuing process
runs no dispatcher (\`ROLE=web\`) and wakes the other behind the commit, so that a job costs a commit, a notification, a
claim; at most one notification each 20 ms, the floor one for each job. "x" is p50 to the floor's.

${contendersTable(results, latencyHeader(`${RATE_PER_SECOND}/s`), (values) => latencyCells(values, first))}`;
  },
};

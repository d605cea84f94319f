import { onStage } from '../lib/actors.mjs';
import { contend } from '../lib/contend.mjs';
import { contendersTable, ms, ratio, rounds, whole } from '../lib/format.mjs';
import { quantile } from '../lib/statistics.mjs';

const HANDLER_MS = 1;
const EVERY_MS = [45, 55];
const IDLE_JOBS = 100;
/** Of this tenant are the jobs 7, 107, 207, ...; the flood is of tenant 0. */
const TENANT = 7;
const TENANTS = 100;
const WAVE = 20;
const BUDGET_MS = 60_000;
const DEADLINE_MS = 60_000;
const CHILD_DEADLINE_MS = 150_000;

/** @type {import('../lib/contend.mjs').Entry[]} */
const LINE_UP = [
  { name: 'ours, defaults', contender: 'ours', settings: { env: { LOG_LEVEL: 'warn' }, tenants: 1 } },
  {
    name: 'ours, defaults, ten jobs of the flood in each lane',
    contender: 'ours',
    settings: { env: { LOG_LEVEL: 'warn' }, tenants: 1, perLane: 10 },
  },
  {
    name: 'graphile-worker, 20 jobs, local queue 100, batching 0',
    contender: 'graphile-worker',
    settings: { concurrentJobs: 20, localQueue: { size: 100 }, completeJobBatchDelay: 0, failJobBatchDelay: 0 },
  },
  {
    name: 'pg-boss, notify, 20 workers, batch 5, burst',
    contender: 'pg-boss',
    settings: {
      notify: true,
      localConcurrency: 20,
      batchSize: 5,
      burstWhenBatchFull: true,
      pollingIntervalSeconds: 0.5,
    },
  },
];

/** What one tenant's flood costs another one. */
export const scenario = {
  run: ({ server, plan }) =>
    contend(LINE_UP, { what: 'flood', plan, rounds: 1, budgetMs: BUDGET_MS }, (entry) =>
      onStage(server, entry, (stage) => scene(stage, plan.flood), {
        handlerMs: HANDLER_MS,
        deadlineMs: CHILD_DEADLINE_MS,
      }),
    ),

  section(results, { flood }) {
    const cells = (values) => {
      const all = (/** @type {'idle' | 'flooded'} */ when, /** @type {'waits' | 'commits'} */ what) =>
        values.flatMap((value) => value[when][what]);
      const p95 = (/** @type {'waits' | 'commits'} */ what) => {
        const [idle, flooded] = [quantile(all('idle', what), 0.95), quantile(all('flooded', what), 0.95)];
        return [ms(idle), ms(flooded), ratio(flooded / idle)];
      };
      return [
        ms(quantile(all('idle', 'waits'), 0.5)),
        ms(quantile(all('flooded', 'waits'), 0.5)),
        ...p95('waits'),
        ...p95('commits'),
        whole(flood / (values.reduce((sum, value) => sum + value.seconds, 0) / values.length)),
        String(all('flooded', 'waits').length),
      ];
    };
    const count = [...results.values()][0]?.values.length ?? 0;
    return `## A tenant's flood

One tenant has ${whole(flood)} jobs waiting, each of ${HANDLER_MS} ms; another one enqueues one job each ${EVERY_MS.join(' to ')} ms in another process.
Milliseconds from that enqueue to the start of its handler, for the jobs that were sent while the flood was being worked
off; ${rounds(count)}. graphile-worker and pg-boss know no tenants and serve the oldest first: without further measures
their other tenant waits for the end of the flood. "x" is p95 to the idle p95. "commit" is the part until the enqueue is
acknowledged: the disk and the cores are shared, and no order of claims makes it shorter.

${contendersTable(
  results,
  [
    'contender',
    ...['idle p50', 'flooded', 'idle p95', 'flooded', 'x'],
    ...['commit, idle p95', 'flooded', 'x'],
    ...['jobs/s of the flood', 'jobs seen'],
  ],
  cells,
)}`;
  },
};

async function scene({ worker, producer }, /** @type {number} */ flood) {
  let next = TENANT + TENANTS * 10_000;
  const enqueue = async (/** @type {number} */ count) => {
    const sent = await producer.enqueue({ from: next, count, step: TENANTS, everyMs: EVERY_MS });
    next += TENANTS * count;
    return sent;
  };
  await worker.waits(await enqueue(IDLE_JOBS / 2));
  const alone = await enqueue(IDLE_JOBS);
  const idle = { waits: await worker.waits(alone), commits: commits(alone) };
  await worker.ask('seed', { count: flood });
  /** @type {import('../lib/actors.mjs').Sent[]} */
  const sent = [];
  const done = () => [...worker.starts.keys()].filter((n) => n < flood).length === flood;
  while (!done()) {
    sent.push(...(await enqueue(WAVE)));
    if (sent.length * EVERY_MS[0] > DEADLINE_MS)
      throw new Error(`the flood was not worked off within ${DEADLINE_MS / 1_000} s`);
  }
  const starts = [...worker.starts].filter(([n]) => n < flood).map(([, [at = Number.NaN]]) => at);
  const [first, last] = [starts.reduce((a, b) => Math.min(a, b)), starts.reduce((a, b) => Math.max(a, b))];
  const beside = sent.filter(([, at]) => at < last);
  const flooded = { waits: await worker.waits(beside), commits: commits(beside) };
  return { idle, flooded, seconds: (last - first) / 1_000 };
}

/** Milliseconds from the sending of each job until its enqueue was acknowledged. */
function commits(/** @type {readonly import('../lib/actors.mjs').Sent[]} */ sent) {
  return sent.map(([, at, acknowledgedAt = Number.NaN]) => acknowledgedAt - at);
}

import pg from 'pg';
import { onStage } from '../lib/actors.mjs';
import { contend } from '../lib/contend.mjs';
import { contendersTable, ms, rounds, whole } from '../lib/format.mjs';
import { quantile } from '../lib/statistics.mjs';

const CLAIM = 100;
const CLAIMS = 30;
const NEW_JOBS = 100;
const BUDGET_MS = 240_000;
const WORK_DEADLINE_MS = 100_000;
const CHILD_DEADLINE_MS = 240_000;

/** @type {import('../lib/contend.mjs').Entry[]} */
const LINE_UP = [
  { name: 'ours, defaults', contender: 'ours', settings: { env: { LOG_LEVEL: 'warn' } } },
  {
    name: 'raw lease + delete, batch 100, polled each 5 ms',
    contender: 'raw',
    settings: { connections: 1, batch: CLAIM, pollMs: 5 },
  },
  {
    name: 'graphile-worker, 24 jobs, local queue 100, batching 0',
    contender: 'graphile-worker',
    settings: { concurrentJobs: 24, localQueue: { size: CLAIM }, completeJobBatchDelay: 0, failJobBatchDelay: 0 },
  },
  {
    name: 'pg-boss, notify, batch 100, burst',
    contender: 'pg-boss',
    settings: { notify: true, batchSize: CLAIM, burstWhenBatchFull: true, pollingIntervalSeconds: 0.5 },
  },
];

/** What a transaction that somebody holds open costs the queue: no dead row goes away while it lasts. */
export const scenario = {
  run: ({ server, plan }) =>
    contend(LINE_UP, { what: 'snapshot', plan, rounds: 3, budgetMs: BUDGET_MS }, (entry) =>
      onStage(server, entry, (stage) => scene(stage, plan.finished), { deadlineMs: CHILD_DEADLINE_MS }),
    ),

  section(results, { finished }) {
    const cells = (values) =>
      /** @type {const} */ (['claims', 'waits']).flatMap((what) => {
        const of = (/** @type {'before' | 'held'} */ when, /** @type {number} */ share) =>
          quantile(
            values.flatMap((value) => value[when][what]),
            share,
          );
        return [ms(of('before', 0.5)), ms(of('held', 0.5)), ms(of('held', 0.95))];
      });
    const count = [...results.values()][0]?.values.length ?? 0;
    return `## A held snapshot

A report, a dump or a forgotten transaction keeps its snapshot, and meanwhile ${whole(finished)} jobs are worked off: their dead
rows and index entries cannot be cleaned away. Milliseconds of the contender's own claim statement, as its running
worker sends it, for ${CLAIM} due rows (${CLAIMS} times a round), and from an enqueue in another process to the start of its handler
(${NEW_JOBS} jobs a round); ${rounds(count)}. "-": it never claimed ${CLAIM} at once.

${contendersTable(
  results,
  [
    'contender',
    'claim before, p50',
    'claim behind it, p50',
    'p95',
    'new job before, p50',
    'new job behind it, p50',
    'p95',
  ],
  cells,
)}`;
  },
};

async function scene({ url, worker, producer }, /** @type {number} */ finished) {
  let next = 1e7;
  const measure = async () => {
    const claims = [];
    for (let i = 0; i < CLAIMS; i++) {
      const taken = await worker.ask('work', { count: CLAIM, deadlineMs: 20_000 });
      claims.push(...taken.filter(({ rows }) => rows === CLAIM).map((claim) => claim.ms));
    }
    const sent = await producer.enqueue({ from: next, count: NEW_JOBS, everyMs: [15, 35] });
    next += NEW_JOBS;
    return { claims, waits: await worker.waits(sent) };
  };
  await measure();
  const before = await measure();
  const holder = new pg.Client({ connectionString: url });
  holder.on('error', () => {});
  await holder.connect();
  try {
    await holder.query('begin isolation level repeatable read');
    await holder.query('select txid_current_snapshot()');
    await worker.ask('work', { count: finished, deadlineMs: WORK_DEADLINE_MS });
    return { before, held: await measure() };
  } finally {
    await holder.end();
  }
}

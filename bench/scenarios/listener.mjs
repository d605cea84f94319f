import { onStage } from '../lib/actors.mjs';
import { now } from '../lib/clock.mjs';
import { contend } from '../lib/contend.mjs';
import { contendersTable, ms, rounds } from '../lib/format.mjs';
import { startProxy } from '../lib/proxy.mjs';
import { quantile } from '../lib/statistics.mjs';

const WARM_UP = 50;
const EVERY_MS = [80, 120];
const WATCHED_MS = 15_000;
/** Slower than this, nobody was told of the job. */
const UNTOLD_MS = 250;
const BUDGET_MS = 75_000;
const ARRIVAL_DEADLINE_MS = 40_000;

/** @type {import('../lib/contend.mjs').Entry[]} */
const LINE_UP = [
  { name: 'ours, defaults', contender: 'ours', settings: { env: { LOG_LEVEL: 'warn' } } },
  { name: 'graphile-worker, 10 jobs', contender: 'graphile-worker', settings: { concurrentJobs: 10 } },
  {
    name: 'pg-boss, notify, 2 workers, batch 100',
    contender: 'pg-boss',
    settings: { notify: true, tolerant: true, localConcurrency: 2, batchSize: 100 },
  },
];

/** The connection that listens goes silently dead: no error, no end, nothing comes through any more. */
export const scenario = {
  run: ({ server, plan }) =>
    contend(LINE_UP, { what: 'listener', plan, rounds: 1, budgetMs: BUDGET_MS }, async (entry) => {
      /** @type {Awaited<ReturnType<typeof startProxy>> | undefined} */
      let proxy;
      const workerUrl = async (/** @type {string} */ url) => {
        proxy = await startProxy(url);
        return proxy.url;
      };
      try {
        return await onStage(server, entry, (stage) => scene(stage, proxy), { workerUrl });
      } finally {
        proxy?.stop();
      }
    }),

  section(results) {
    const cells = (values) => {
      const heals = values.map(({ healedMs }) => healedMs);
      const healed = heals.includes(null) ? `not within ${WATCHED_MS / 1_000} s` : ms(Math.max(...heals));
      const before = values.flatMap((value) => value.before);
      const after = values.flatMap((value) => value.after);
      return [ms(quantile(before, 0.5)), ms(quantile(after, 0.5)), ms(Math.max(...after)), healed];
    };
    const count = [...results.values()][0]?.values.length ?? 0;
    return `## A dead listener

The connection on which the worker is notified goes silently dead, as when a firewall forgets it: a proxy swallows its
bytes in both directions, and lets all other and all new connections through. Milliseconds from an enqueue in another
process (one each ${EVERY_MS.join(' to ')} ms) to the start of its handler; ${rounds(count)}. Healed: from the death until no
further job took more than ${UNTOLD_MS} ms.

${contendersTable(results, ['contender', 'p50 before', 'p50 in the 15 s after', 'worst', 'healed after'], cells)}`;
  },
};

async function scene({ worker, producer }, proxy) {
  const before = await worker.waits(await producer.enqueue({ from: 0, count: WARM_UP, everyMs: EVERY_MS }));
  const diedAt = now();
  if (proxy.loseListeners() === 0) throw new Error('no connection was seen to listen');
  const count = Math.round(WATCHED_MS / ((EVERY_MS[0] + EVERY_MS[1]) / 2));
  const sent = await producer.enqueue({ from: WARM_UP, count, everyMs: EVERY_MS });
  const after = await worker.waits(sent, ARRIVAL_DEADLINE_MS);
  const last = after.findLastIndex((wait) => wait > UNTOLD_MS);
  const isHealed = last < after.length - WARM_UP / 5;
  const healedMs = last < 0 ? 0 : sent[last][1] + after[last] - diedAt;
  return { before, after, healedMs: isHealed ? healedMs : null };
}

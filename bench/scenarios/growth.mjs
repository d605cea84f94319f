import pg from 'pg';
import { install, startWorker } from '../lib/actors.mjs';
import { contend, progress } from '../lib/contend.mjs';
import { contendersTable, ms, ratio, rounds, whole } from '../lib/format.mjs';
import { median } from '../lib/statistics.mjs';

const SIZES = [1, 100];
const CLAIMS = 40;
const BUDGET_MS = 75_000;
const WARM_UP_JOBS = 2_000;
const CHUNK = 500_000;
const QUIET = { env: { LOG_LEVEL: 'warn' } };
const PG_BOSS = { notify: true, batchSize: 100, burstWhenBatchFull: true, pollingIntervalSeconds: 0.5 };

/** What the claim costs with a long history behind it. The databases stand side by side, and are measured in turns. */
export const scenario = {
  run({ server, plan }) {
    const levels = [0, ...new Set([Math.ceil(plan.history / 10), plan.history])];
    const lineUp = [
      ...levels.map((level) => entryOf('ours', QUIET, level)),
      entryOf('graphile-worker', { concurrentJobs: 10, localQueue: { size: 100 } }, 0),
      ...levels.map((level) => entryOf('pg-boss', PG_BOSS, level)),
    ];
    return withDatabases(server, lineUp, async (urls) => {
      for (const entry of lineUp) await grow(entry, urls.get(entry.name) ?? '');
      return contend(lineUp, { what: 'growth', plan, rounds: 3, budgetMs: BUDGET_MS }, (entry) =>
        measure(entry, urls.get(entry.name) ?? ''),
      );
    });
  },

  section(results) {
    const of = (values, /** @type {number} */ size) => median(values.flatMap((value) => value[size]));
    const cells = (values, /** @type {string} */ name) => {
      const empty = results.get(nameOf(name.split(',')[0] ?? '', 0))?.values ?? [];
      return SIZES.flatMap((size) => [ms(of(values, size)), ratio(of(values, size) / of(empty, size))]);
    };
    const count = Math.max(...[...results.values()].map(({ values }) => values.length));
    return `## Growth

Milliseconds (medians) of the contender's own claim statement, as its running worker sends it, with finished jobs
behind it; ${rounds(count)} of ${CLAIMS} claims of each size. "x" is to the same contender without any. Ours: that many rows in the event
log and in the history, all in today's partitions. pg-boss keeps finished jobs for seven days by default. graphile-worker
deletes them and keeps no history, so it has one row: it has nothing that grows. "-": it never claimed as many at once.

${contendersTable(results, ['contender', ...SIZES.flatMap((size) => [`claim of ${size}`, 'x'])], cells)}`;
  },
};

function nameOf(/** @type {string} */ contender, /** @type {number} */ level) {
  return `${contender}, ${whole(level)} finished jobs`;
}

/** @returns {import('../lib/contend.mjs').Entry & { level: number }} */
function entryOf(contender, settings, level) {
  return { name: nameOf(contender, level), contender, settings, level };
}

function withDatabases(server, lineUp, work, urls = new Map()) {
  const [entry, ...rest] = lineUp;
  if (!entry) return work(urls);
  return server.withDatabase((url) => withDatabases(server, rest, work, urls.set(entry.name, url)));
}

/** Not measured, and so in a hurry: nothing waits for the disk until the checkpoint at the end. */
async function grow({ name, contender, settings, level }, /** @type {string} */ url) {
  const from = performance.now();
  await install({ name, contender, settings }, url);
  const { contender: growing } = await import(`../contenders/${contender}.mjs`);
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    await client.query('set synchronous_commit = off');
    for (let rows = level; rows > 0; rows -= CHUNK) await growing.grow(client, Math.min(rows, CHUNK));
    await client.query('vacuum (analyze)');
    await client.query('checkpoint');
  } finally {
    await client.end();
  }
  progress(`growth: ${name}, grown in ${Math.round((performance.now() - from) / 1_000)} s`);
}

/** By size: the milliseconds of each claim of that many rows. */
async function measure(entry, /** @type {string} */ url) {
  const worker = await startWorker(entry, url);
  try {
    await worker.ask('work', { count: WARM_UP_JOBS, deadlineMs: 30_000 });
    /** @type {Record<number, number[]>} */
    const claims = {};
    for (const size of SIZES) {
      const taken = [];
      for (let i = 0; i < CLAIMS; i++) taken.push(...(await worker.ask('work', { count: size, deadlineMs: 20_000 })));
      claims[size] = taken.filter(({ rows }) => rows === size).map((claim) => claim.ms);
    }
    return claims;
  } finally {
    await worker.stop();
  }
}

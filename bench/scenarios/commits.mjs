import pg from 'pg';
import { install } from '../lib/actors.mjs';
import { progress } from '../lib/contend.mjs';
import { ratio, rounds, table, whole } from '../lib/format.mjs';
import { forkChild } from '../lib/processes.mjs';
import { median, shuffled } from '../lib/statistics.mjs';

const CLIENTS = [8, 32];
/** What a commit waits for others at most: 0 on a local disk; 2 ms stand for cloud storage or a synchronous replica. */
const COMMIT_DELAYS_MS = [0, 2];
/** Short, and many: the machine's speed changes within seconds, and only what is measured side by side can be compared. */
const SECONDS = 0.3;
const WARM_UP_SECONDS = 0.1;
const QUIET = { env: { LOG_LEVEL: 'warn', DB_POOL_MAX: String(Math.max(...CLIENTS)) } };
const VARIANTS = /** @type {const} */ ([
  ['ours, without wake-ups', 'ours', 'none'],
  ['ours, woken after the commit, debounced: as shipped', 'ours', 'debounced'],
  ['ours, NOTIFY in each transaction', 'ours', 'each'],
  ['floor: one insert, without wake-ups', 'raw', 'none'],
  ['floor: one insert, NOTIFY in each transaction', 'raw', 'each'],
]);

/** What it costs a business transaction to tell other processes that there is something to do. */
export const scenario = {
  /** By variant and column: commits a second, one number a round. */
  async run({ server, plan }) {
    const times = plan.rounds ?? 24;
    /** @type {Map<string, number[]>} */
    const rates = new Map();
    for (const delayMs of COMMIT_DELAYS_MS) {
      const measured = await server.withDatabase((/** @type {string} */ url) => inOneProcess(url, delayMs, times));
      for (const [key, values] of measured) rates.set(key, values);
      progress(`commits: commit_delay ${delayMs} ms, ${rounds(times)}`);
    }
    return rates;
  },

  section(/** @type {Map<string, number[]>} */ rates) {
    const columns = COMMIT_DELAYS_MS.flatMap((delayMs) => CLIENTS.map((clients) => ({ delayMs, clients })));
    const header = columns.flatMap(({ delayMs, clients }) => [
      `${clients} clients${delayMs > 0 ? `, +${delayMs} ms` : ''}`,
      'x',
    ]);
    const rows = VARIANTS.map(([name, who]) => {
      const plain = VARIANTS.find(([, whose, wakeUps]) => whose === who && wakeUps === 'none')?.[0] ?? '';
      const of = (/** @type {string} */ variant, column) => rates.get(keyOf(variant, column)) ?? [];
      return [
        name,
        ...columns.flatMap((column) => {
          const beside = of(plain, column);
          return [
            whole(median(of(name, column))),
            ratio(median(of(name, column).map((rate, n) => rate / (beside[n] ?? NaN)))),
          ];
        }),
      ];
    });
    return `## Commits with wake-ups

Commits a second of N clients of one process that publish one event in each transaction, while another connection
listens; medians of ${rounds([...rates.values()][0]?.length ?? 0)} of ${SECONDS} s. "+2 ms" is \`commit_delay\`, which stands for cloud storage or a synchronous
replica. "x" is to the same without wake-ups in the same round, the median of these. A NOTIFY inside the transaction holds
one lock of the whole database from before the commit's flush until after it, so that commits cannot share a flush;
graphile-worker (in \`add_job\`) and pg-boss (with \`notify\`) do that.

${table(['', ...header], rows)}`;
  },
};

function keyOf(/** @type {string} */ variant, { delayMs, clients }) {
  return `${variant}|${delayMs}|${clients}`;
}

async function inOneProcess(/** @type {string} */ url, /** @type {number} */ delayMs, /** @type {number} */ times) {
  for (const contender of ['ours', 'raw']) await install({ name: contender, contender, settings: QUIET }, url);
  const listener = new pg.Client({ connectionString: url });
  listener.on('error', () => {});
  await listener.connect();
  try {
    await listener.query('listen nmc_outbox');
    const { pathname } = new URL(url);
    await listener.query(`alter database ${pathname.slice(1)} set commit_siblings = 0`);
    await listener.query(`alter database ${pathname.slice(1)} set commit_delay = ${delayMs * 1_000}`);
    const child = forkChild({ scenario: 'commits', url, delayMs, times }, { deadlineMs: 600_000 });
    const measured = await child.result;
    await child.ended;
    return new Map(measured);
  } finally {
    await listener.end();
  }
}

/** In a process of its own: every variant once a round, in another order each time. */
export async function play({ url, delayMs, times }) {
  const { startPublisher } = await import('../contenders/ours.mjs');
  const publisher = await startPublisher(url, QUIET.env);
  const pool = new pg.Pool({ connectionString: url, max: Math.max(...CLIENTS) });
  const commit = (/** @type {string} */ who, wakeUps) =>
    who === 'ours' ? publisher.publish(n++, wakeUps) : insert(pool, wakeUps);
  let n = 0;
  /** @type {Map<string, number[]>} */
  const rates = new Map();
  for (let round = 0; round < times; round++) {
    const cells = shuffled(CLIENTS).flatMap((clients) => shuffled(VARIANTS).map((variant) => ({ variant, clients })));
    for (const { variant, clients } of cells) {
      const [name, who, wakeUps] = variant;
      await commitFor(WARM_UP_SECONDS, clients, () => commit(who, wakeUps));
      const key = keyOf(name, { delayMs, clients });
      const rate = (await commitFor(SECONDS, clients, () => commit(who, wakeUps))) / SECONDS;
      rates.set(key, [...(rates.get(key) ?? []), rate]);
    }
  }
  await publisher.stop();
  await pool.end();
  return [...rates];
}

async function commitFor(/** @type {number} */ seconds, /** @type {number} */ clients, commit) {
  const end = performance.now() + seconds * 1_000;
  let commits = 0;
  const loop = async () => {
    while (performance.now() < end) {
      await commit();
      commits++;
    }
  };
  await Promise.all(Array.from({ length: clients }, loop));
  return commits;
}

/** With and without: as many round trips, so that only the NOTIFY differs. */
async function insert(pool, wakeUps) {
  const client = await pool.connect();
  await client.query('begin');
  await client.query({ name: 'insert', text: 'insert into jobs (payload) values ($1)', values: [{ n: 1 }] });
  await client.query(wakeUps === 'each' ? 'notify nmc_outbox' : 'select');
  await client.query('commit');
  client.release();
}

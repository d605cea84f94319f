import { setTimeout as pause } from 'node:timers/promises';
import { loadContender } from '../contenders/contender.mjs';
import { progress } from '../lib/contend.mjs';
import { quantiles, rounds, table } from '../lib/format.mjs';
import { forkChild } from '../lib/processes.mjs';
import { within } from '../lib/wait.mjs';

const ROWS = 40;
const ROUND_DEADLINE_MS = 20_000;
const SETTINGS = { env: { LOG_LEVEL: 'warn' } };

export const scenario = {
  async run({ server, plan }) {
    const results = await server.withDatabase((url) => takeovers(url, plan.rounds ?? 10));
    progress(`takeover: ${rounds(results.length)}`);
    return results;
  },

  section(/** @type {number[][]} */ results) {
    const row = (/** @type {string} */ what, /** @type {number[]} */ values) => [
      what,
      ...quantiles(values, [0.5, 0.99, 1]),
    ];
    const rows = [
      row('every row', results.flat()),
      row(
        'first row of a round',
        results.map((round) => Math.min(...round)),
      ),
      row(
        'last row of a round',
        results.map((round) => Math.max(...round)),
      ),
    ];
    return `## Rescue

Milliseconds from SIGKILL of the process that holds ${ROWS} leased rows, half of them in running handlers, to the second start
of a row in another process with default settings; ${rounds(results.length)}.

${table(['', 'p50', 'p99', 'max'], rows)}

For the others this was not measured here; what they publish about a job whose worker was killed:

| | published |
|---|---|
| [graphile-worker](https://worker.graphile.org/docs/performance) | 4 hours, swept every 8 to 10 minutes; sooner with Worker Pro's heartbeats |
| [pg-boss](https://pgboss.io/) | \`expireInSeconds\`, 15 minutes; with \`heartbeatSeconds\`, which is off by default, 10 s at the least |
| [River](https://riverqueue.com/docs) | 1 hour (\`RescueStuckJobsAfter\`) |
| [Oban](https://hexdocs.pm/oban/Oban.Plugins.Lifeline.html) | 1 hour (\`rescue_after\` of Lifeline) |
| [Solid Queue](https://github.com/rails/solid_queue) | 5 minutes (\`process_alive_threshold\`) |`;
  },
};

/**
 * Milliseconds from SIGKILL of the process that holds leases (half of its rows in running handlers, half waiting in its
 * memory) until another process starts each of them again. One clock for all processes: the system's monotonic one.
 */
async function takeovers(/** @type {string} */ url, /** @type {number} */ times) {
  const starts = new Map();
  let arrived = () => {};
  const survivor = forkChild({ scenario: 'takeover', role: 'survivor', url });
  survivor.on('start', ({ n, at }) => {
    starts.set(n, BigInt(at));
    arrived();
  });
  await survivor.ready;
  const results = [];
  for (let round = 0; round < times; round++) {
    const holder = forkChild({ scenario: 'takeover', role: 'holder', url, from: round * ROWS });
    await holder.ready;
    // At no particular point between two sweeps of the survivor.
    await pause(Math.random() * 500);
    const killedAt = process.hrtime.bigint();
    holder.kill();
    const everyOne = new Promise((resolve) => {
      arrived = () => starts.size === (round + 1) * ROWS && resolve(undefined);
      arrived();
    });
    await within(ROUND_DEADLINE_MS, everyOne);
    results.push(Array.from({ length: ROWS }, (_, i) => Number((starts.get(round * ROWS + i) ?? 0n) - killedAt) / 1e6));
  }
  survivor.kill();
  return results;
}

/** In a process of its own: holds what it publishes for ever, or runs what others left and tells when. */
export async function play({ role, url, from }) {
  const contender = await loadContender('ours');
  if (role === 'survivor') {
    await contender.install(url, SETTINGS);
    await contender.start(url, SETTINGS, (n) => {
      process.send?.({ type: 'start', n, at: String(process.hrtime.bigint()) });
    });
    return;
  }
  let started = 0;
  const half = Promise.withResolvers();
  const running = await contender.start(url, SETTINGS, () => {
    if (++started === ROWS / 2) half.resolve(undefined);
    return new Promise(() => {});
  });
  for (let n = from; n < from + ROWS; n++) await running.enqueue(n);
  await half.promise;
}

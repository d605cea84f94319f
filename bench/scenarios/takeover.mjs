import { setTimeout as pause } from 'node:timers/promises';
import { loadContender } from '../contenders/contender.mjs';
import { within } from '../lib/wait.mjs';

const ROWS = 40;
const ROUND_DEADLINE_MS = 20_000;
const SETTINGS = { env: { LOG_LEVEL: 'warn' } };

/**
 * Milliseconds from SIGKILL of the process that holds leases (half of its rows in running handlers, half waiting in its
 * memory) until another process starts each of them again. One clock for all processes: the system's monotonic one.
 * @param {{ url: string, rounds: number, fork: typeof import('../lib/processes.mjs').forkChild }} options
 */
export async function measureTakeover({ url, rounds, fork }) {
  const starts = new Map();
  let arrived = () => {};
  const survivor = fork({ scenario: 'takeover', role: 'survivor', url });
  survivor.on('start', ({ n, at }) => {
    starts.set(n, BigInt(at));
    arrived();
  });
  await survivor.ready;
  const results = [];
  for (let round = 0; round < rounds; round++) {
    const holder = fork({ scenario: 'takeover', role: 'holder', url, from: round * ROWS });
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

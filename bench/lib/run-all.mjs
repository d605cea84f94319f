import { LINE_UP as DRAIN } from '../scenarios/drain.mjs';
import { LINE_UP as LATENCY } from '../scenarios/latency.mjs';
import { measureTakeover } from '../scenarios/takeover.mjs';
import { forkChild, killChildren } from './processes.mjs';
import { startServer } from './server.mjs';
import { shuffled } from './statistics.mjs';

export const IDLE_JOBS = 200;
export const RATE_PER_SECOND = 200;
/** Less than six minutes in all, takeovers included, on two slow cores: by then each part begins no further round. */
const DRAIN_ENDS_MS = 165_000;
const LATENCY_ENDS_MS = 340_000;

/**
 * @typedef {object} Plan
 * @property {string[]} only
 * @property {{ drain: number, latency: number, takeover: number }} rounds
 * @property {number} jobs
 * @property {number} seconds
 */

/** @typedef {{ idle: number[], rate: number[] }} Waits in milliseconds */

/** Everything the plan asks for, one process at a time, each round in another order. @param {Plan} plan */
export async function runAll(plan) {
  const startedAt = performance.now();
  const server = await startServer();
  const interrupted = async (/** @type {NodeJS.Signals} */ signal) => {
    killChildren();
    await server.stop();
    process.exit(signal === 'SIGINT' ? 130 : 143);
  };
  for (const signal of /** @type {const} */ (['SIGINT', 'SIGTERM'])) process.once(signal, interrupted);
  try {
    const settings = await server.settings();
    const drain = plan.only.includes('drain') ? await drains(server, plan, startedAt) : undefined;
    const latency = plan.only.includes('latency') ? await latencies(server, plan, startedAt) : undefined;
    const takeover = plan.only.includes('takeover')
      ? await server.withDatabase((url) => takeovers(url, plan.rounds.takeover))
      : undefined;
    return { plan, settings, drain, latency, takeover, seconds: (performance.now() - startedAt) / 1_000 };
  } finally {
    killChildren();
    await server.stop();
    for (const signal of /** @type {const} */ (['SIGINT', 'SIGTERM'])) process.removeAllListeners(signal);
  }
}

/** By name: jobs a second, one number a round. */
async function drains(server, { rounds, jobs }, startedAt) {
  const rates = new Map(DRAIN.map(({ name }) => [name, /** @type {number[]} */ ([])]));
  await repeat(rounds.drain, startedAt + DRAIN_ENDS_MS, async (round) => {
    for (const entry of shuffled(DRAIN)) {
      const { jobsPerSecond } = await inChild(server, entry, { scenario: 'drain', jobs });
      rates.get(entry.name)?.push(jobsPerSecond);
      progress(`drain, round ${round}: ${entry.name}: ${Math.round(jobsPerSecond)}/s`);
    }
  });
  return rates;
}

/** By name: every wait of each round, idle and at the rate. */
async function latencies(server, { rounds, seconds }, startedAt) {
  const waits = new Map(LATENCY.map(({ name }) => [name, /** @type {Waits[]} */ ([])]));
  await repeat(rounds.latency, startedAt + LATENCY_ENDS_MS, async (round) => {
    for (const entry of shuffled(LATENCY)) {
      const job = { scenario: 'latency', idleJobs: IDLE_JOBS, ratePerSecond: RATE_PER_SECOND, seconds };
      waits.get(entry.name)?.push(await inChild(server, entry, job));
      progress(`latency, round ${round}: ${entry.name}`);
    }
  });
  return waits;
}

/** Up to `rounds` rounds: no further one is begun that would, going by the last, end too late. */
async function repeat(rounds, end, work) {
  for (let round = 1, lastMs = 0; round <= rounds && performance.now() + lastMs <= end; round++) {
    const from = performance.now();
    await work(round);
    lastMs = performance.now() - from;
  }
}

/** One array a round: for each row, how long after the kill it was started again. */
async function takeovers(url, rounds) {
  const results = await measureTakeover({ url, rounds, fork: forkChild });
  progress(`takeover: ${rounds} rounds`);
  return results;
}

function inChild(server, { contender, settings, instrumented }, job) {
  return server.withDatabase(async (/** @type {string} */ url) => {
    const child = forkChild({ ...job, contender, settings, url }, { instrumented });
    const result = await child.result;
    await child.ended;
    return result;
  });
}

function progress(line) {
  process.stderr.write(`${line}\n`);
}

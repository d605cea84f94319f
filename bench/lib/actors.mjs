import { setTimeout as pause } from 'node:timers/promises';
import { forkChild, runIsOver } from './processes.mjs';
import { until } from './wait.mjs';

/** What a supervisor waits before it starts a process again. */
const RESTART_MS = 200;

/** @typedef {import('./contend.mjs').Entry} Entry */
/** @typedef {[n: number, at: number, acknowledgedAt: number | undefined]} Sent */

/**
 * The working half of a contender in a process of its own.
 * @param {Entry} entry
 * @param {string} url
 * @param {{ handlerMs?: number, direct?: string, deadlineMs?: number, supervised?: boolean }} [options] `direct` is the
 * way past a proxy; `supervised` starts it again whenever it has ended by itself
 */
export async function startWorker({ contender, settings, instrumented }, url, options = {}) {
  const { deadlineMs, supervised = false, ...rest } = options;
  /** When each job was started, on the clock of lib/clock.mjs: more than once is a second run. @type {Map<number, number[]>} */
  const starts = new Map();
  let stopping = false;
  let ends = 0;
  const begin = () => {
    // What would be reported later is lost when it ends.
    const job = { actor: 'worker', contender, settings, url, prompt: supervised, ...rest };
    const child = forkChild(job, { instrumented, deadlineMs });
    child.on('starts', ({ value }) => {
      for (const [n, at] of value) starts.set(n, [...(starts.get(n) ?? []), at]);
    });
    if (supervised) child.ended.then(() => pause(RESTART_MS)).then(restart);
    return child;
  };
  const restart = () => {
    if (stopping || runIsOver()) return;
    ends++;
    child = begin();
  };
  let child = begin();
  await child.ready;
  return {
    starts,
    /** How often it ended by itself. */
    ends: () => ends,
    ask: (/** @type {string} */ question, /** @type {Record<string, unknown>} */ value) => child.ask(question, value),
    /** Milliseconds from the sending of each job to its first start, once all are started. */
    async waits(/** @type {readonly Sent[]} */ sent, ms = 15_000) {
      await Promise.race([child.failed, until(ms, () => sent.every(([n]) => starts.has(n)))]);
      return sent.map(([n, at]) => (starts.get(n)?.[0] ?? Number.NaN) - at);
    },
    async stop() {
      stopping = true;
      await end(child);
    },
  };
}

/** The enqueuing half of a contender in a process of its own, which works nothing off. */
export async function startProducer(/** @type {Entry} */ { contender, settings, instrumented }, url, options = {}) {
  const child = forkChild({ actor: 'producer', contender, settings, url }, { instrumented, ...options });
  await child.ready;
  return {
    /** @returns {Promise<Sent[]>} */
    enqueue: (/** @type {{ from: number, count: number, step?: number, everyMs: readonly number[] }} */ jobs) =>
      child.ask('enqueue', jobs),
    stop: () => end(child),
  };
}

/**
 * Both halves on an empty database.
 * @template T
 * @param {any} server
 * @param {Entry} entry
 * @param {(halves: { url: string, worker: Awaited<ReturnType<typeof startWorker>>,
 *   producer: Awaited<ReturnType<typeof startProducer>> }) => Promise<T>} scene
 * @param {{ handlerMs?: number, deadlineMs?: number, supervised?: boolean, workerUrl?: (url: string) => Promise<string> }} [options]
 * @returns {Promise<T>}
 */
export function onStage(server, entry, scene, { workerUrl, ...options } = {}) {
  return server.withDatabase(async (/** @type {string} */ url) => {
    await install(entry, url);
    const through = (await workerUrl?.(url)) ?? url;
    const worker = await startWorker(entry, through, { ...options, direct: url });
    try {
      const producer = await startProducer(entry, url, { deadlineMs: options.deadlineMs });
      try {
        return await scene({ url, worker, producer });
      } finally {
        await producer.stop();
      }
    } finally {
      await worker.stop();
    }
  });
}

/** Makes a contender's tables. */
export async function install({ contender, settings }, /** @type {string} */ url) {
  const child = forkChild({ scenario: 'install', contender, settings, url });
  await child.result;
  await child.ended;
}

/** It has a moment to say goodbye; what the scene has measured, or what it died of, does not depend on it. */
async function end(child) {
  const impatient = setTimeout(() => child.kill(), 5_000);
  await child.ask('stop').catch(() => {});
  clearTimeout(impatient);
  child.kill();
  await child.ended;
}

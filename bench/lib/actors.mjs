import { forkChild } from './processes.mjs';
import { until } from './wait.mjs';

/** @typedef {import('./contend.mjs').Entry} Entry */
/** @typedef {[n: number, at: number, acknowledged: boolean]} Sent */

/**
 * The working half of a contender in a process of its own.
 * @param {Entry} entry
 * @param {string} url
 * @param {{ handlerMs?: number, direct?: string, deadlineMs?: number }} [options] `direct` is the way past a proxy
 */
export async function startWorker({ contender, settings, instrumented }, url, { deadlineMs, ...options } = {}) {
  const child = forkChild({ actor: 'worker', contender, settings, url, ...options }, { instrumented, deadlineMs });
  /** When each job was started, on the clock of lib/clock.mjs: more than once is a second run. @type {Map<number, number[]>} */
  const starts = new Map();
  child.on('starts', ({ value }) => {
    for (const [n, at] of value) starts.set(n, [...(starts.get(n) ?? []), at]);
  });
  await child.ready;
  return {
    starts,
    ask: child.ask,
    /** Waits until `condition` holds; fails at once when the process is gone. */
    until: (/** @type {number} */ ms, /** @type {() => boolean} */ condition) =>
      Promise.race([child.failed, until(ms, condition)]),
    /** Milliseconds from the sending of each job to its first start, once all are started. */
    async waits(/** @type {readonly Sent[]} */ sent, ms = 15_000) {
      await Promise.race([child.failed, until(ms, () => sent.every(([n]) => starts.has(n)))]);
      return sent.map(([n, at]) => (starts.get(n)?.[0] ?? Number.NaN) - at);
    },
    stop: () => end(child),
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
 * @param {Entry} entry
 * @param {(halves: { url: string, worker: Awaited<ReturnType<typeof startWorker>>,
 *   producer: Awaited<ReturnType<typeof startProducer>> }) => Promise<T>} scene
 * @param {{ handlerMs?: number, deadlineMs?: number, workerUrl?: (url: string) => Promise<string> }} [options]
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

import { setTimeout as pause } from 'node:timers/promises';

/**
 * The outcome of `work`, or an error when that takes longer.
 * @template T
 * @param {number} deadlineMs
 * @param {Promise<T>} work
 */
export async function within(deadlineMs, work) {
  /** @type {NodeJS.Timeout | undefined} */
  let timer;
  const late = new Promise((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`not within ${deadlineMs / 1_000} s`)), deadlineMs);
  });
  try {
    // race: the failure of one job ends the whole run, and with it the work.
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}

/**
 * Resolves once `condition` holds, looked at each millisecond.
 * @param {number} deadlineMs
 * @param {() => boolean | Promise<boolean>} condition
 */
export async function until(deadlineMs, condition) {
  const end = performance.now() + deadlineMs;
  while (!(await condition())) {
    if (performance.now() > end) throw new Error(`not within ${deadlineMs / 1_000} s`);
    await pause(1);
  }
}

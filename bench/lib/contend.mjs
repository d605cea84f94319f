import { forkChild, runIsOver } from './processes.mjs';
import { shuffled } from './statistics.mjs';

/**
 * @typedef {object} Entry a row of a line-up
 * @property {string} name
 * @property {string} contender
 * @property {import('../contenders/contender.mjs').Settings} settings
 * @property {boolean} [instrumented]
 * @property {boolean} [against] the row that the others are compared with
 */

/**
 * @template T
 * @typedef {{ values: T[], failures: string[] }} Outcomes of one contender: one or the other a round
 */

/**
 * Every entry of a line-up once a round, each round in another order. Unless the command line says how many rounds, no
 * further one is begun that would, going by the last, end after the budget. A failure of ours or of the floor ends the
 * run; one of the others is its result.
 * @template T
 * @param {readonly Entry[]} lineUp
 * @param {{ what: string, plan: import('./run-all.mjs').Plan, rounds: number, budgetMs: number }} options
 * @param {(entry: Entry) => Promise<T>} measure
 * @returns {Promise<Map<string, Outcomes<T>>>} by name
 */
export async function contend(lineUp, { what, plan, rounds, budgetMs }, measure) {
  const results = new Map(lineUp.map(({ name }) => [name, /** @type {Outcomes<T>} */ ({ values: [], failures: [] })]));
  const times = plan.rounds ?? rounds;
  const end = plan.rounds === undefined ? performance.now() + budgetMs : Infinity;
  for (let round = 1, lastMs = 0; round <= times && performance.now() + lastMs <= end; round++) {
    const from = performance.now();
    for (const entry of shuffled(lineUp)) {
      const outcomes = results.get(entry.name);
      try {
        outcomes?.values.push(await measure(entry));
        progress(`${what}, round ${round}: ${entry.name}`);
      } catch (error) {
        if (runIsOver() || entry.contender === 'ours' || entry.contender === 'raw') throw error;
        const reason = error instanceof Error ? error.message : String(error);
        outcomes?.failures.push(reason);
        progress(`${what}, round ${round}: FAILED: ${entry.name}: ${reason}`);
      }
    }
    lastMs = performance.now() - from;
  }
  return results;
}

/** The result of a job that one contender does in a process and a database of its own. */
export function inChild(server, { contender, settings, instrumented }, job) {
  return server.withDatabase(async (/** @type {string} */ url) => {
    const child = forkChild({ ...job, contender, settings, url }, { instrumented });
    const result = await child.result;
    await child.ended;
    return result;
  });
}

export function progress(/** @type {string} */ line) {
  process.stderr.write(`${line}\n`);
}

/**
 * A queue under measurement, in a process of its own.
 * @typedef {object} Contender
 * @property {(url: string, settings: Settings) => Promise<void>} install makes its tables in an empty database
 * @property {(client: import('pg').Client, count: number, settings: Settings) => Promise<void>} seed writes due jobs
 * numbered from 0, by SQL
 * @property {string} pending a query that answers whether anything is left to do or to be marked as done
 * @property {(url: string, settings: Settings, onStart: OnStart) => Promise<Running>} start
 */

/** @typedef {Record<string, any>} Settings its own configuration */

/** @typedef {(n: number) => Promise<void> | void} OnStart the handler of job `n` */

/**
 * @typedef {object} Running
 * @property {(n: number) => Promise<unknown>} enqueue
 * @property {() => Promise<void>} stop
 */

/** @returns {Promise<Contender>} */
export async function loadContender(/** @type {string} */ name) {
  return (await import(`./${name}.mjs`)).contender;
}

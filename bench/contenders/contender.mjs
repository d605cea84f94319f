/**
 * A queue under measurement, in a process of its own.
 * @typedef {object} Contender
 * @property {(url: string, settings: Settings) => Promise<void>} install makes its tables in an empty database
 * @property {(client: import('pg').Client, count: number, settings: Settings) => Promise<void>} seed writes due jobs
 * numbered from 0, by SQL
 * @property {string} left a query that answers how many jobs are not marked as done
 * @property {string} [wake] a statement after which jobs written by SQL are seen at once; without it, they are polled for
 * @property {any} pg the driver it uses
 * @property {(client: import('pg').Client, count: number) => Promise<void>} [grow] writes `count` finished jobs, in a
 * contender that keeps them
 * @property {(url: string, settings: Settings) => Promise<Running>} producer enqueues, and works nothing off
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

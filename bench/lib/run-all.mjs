import { killChildren } from './processes.mjs';
import { SCENARIOS } from './scenarios.mjs';
import { startServer, stopServers } from './server.mjs';

/** Whatever hangs, the run does not: unattended, it must end. */
const DEADLINE_MS = 90 * 60_000;

/**
 * @typedef {object} Plan
 * @property {string[]} only names of scenarios
 * @property {number} [rounds] each scenario has its own number otherwise
 * @property {number} jobs
 * @property {number} seconds
 * @property {number} history
 * @property {number} finished
 * @property {number} flood
 */

/** Everything the plan asks for, one scenario at a time, on one Postgres. */
export async function runAll(/** @type {Plan} */ plan) {
  const startedAt = performance.now();
  const abort = async (/** @type {string} */ reason, /** @type {number} */ code) => {
    process.stderr.write(`${reason}\n`);
    killChildren();
    await stopServers();
    process.exit(code);
  };
  const onSigint = () => abort('interrupted', 130);
  const onSigterm = () => abort('terminated', 143);
  process.once('SIGINT', onSigint);
  process.once('SIGTERM', onSigterm);
  const deadline = setTimeout(() => abort(`not done within ${DEADLINE_MS / 60_000} minutes`, 1), DEADLINE_MS);
  try {
    const server = await startServer();
    const settings = await server.settings();
    /** @type {Map<string, any>} */
    const measured = new Map();
    for (const name of plan.only) {
      const scenario = SCENARIOS[/** @type {'drain'} */ (name)];
      measured.set(name, await scenario.run({ server, plan }));
    }
    return { plan, settings, measured, seconds: (performance.now() - startedAt) / 1_000 };
  } finally {
    clearTimeout(deadline);
    killChildren();
    await stopServers();
    process.removeListener('SIGINT', onSigint);
    process.removeListener('SIGTERM', onSigterm);
  }
}

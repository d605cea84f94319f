/**
 * `npm run bench`: the outbox beside graphile-worker, pg-boss and a raw loop, on one Postgres, in one run.
 * Without options it measures everything in less than six minutes and rewrites docs/benchmarks.md; with any of
 * `--only drain,latency,takeover`, `--rounds <n>`, `--jobs <n>` and `--seconds <n>` it only prints.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const here = (/** @type {string} */ path) => fileURLToPath(new URL(path, import.meta.url));
const SCENARIOS = ['drain', 'latency', 'takeover'];

const { given, plan } = planned();
if (!existsSync(here('../dist/main.js'))) refuse('dist/ is not built: run `npm run build`');
installPeers();

const { runAll } = await import('./lib/run-all.mjs');
const { reportOf } = await import('./lib/report.mjs');
const partial = given.length > 0;
const results = await runAll(plan);
const command = ['npm run bench', ...(partial ? ['--', ...given] : [])].join(' ');
const report = reportOf(results, command, partial);
process.stdout.write(report);
if (!partial) {
  writeFileSync(here('../docs/benchmarks.md'), report);
  process.stderr.write('docs/benchmarks.md is rewritten\n');
}

/** What the command line asks for. */
function planned() {
  const given = process.argv.slice(2);
  const option = /** @type {const} */ ({ type: 'string' });
  try {
    const { values } = parseArgs({
      args: given,
      options: { only: option, rounds: option, jobs: option, seconds: option },
    });
    const number = (/** @type {'rounds' | 'jobs' | 'seconds'} */ name, /** @type {number} */ otherwise) => {
      const value = Number(values[name] ?? otherwise);
      if (!Number.isInteger(value) || value < 1) throw new Error(`--${name} must be a whole number from 1`);
      return value;
    };
    const only = String(values.only ?? SCENARIOS).split(',');
    if (!only.every((name) => SCENARIOS.includes(name))) throw new Error(`--only knows ${SCENARIOS.join(', ')}`);
    const rounds = { drain: number('rounds', 3), latency: number('rounds', 2), takeover: number('rounds', 10) };
    return { given, plan: { only, rounds, jobs: number('jobs', 20_000), seconds: number('seconds', 10) } };
  } catch (error) {
    return refuse(error instanceof Error ? error.message : String(error));
  }
}

/** @returns {never} */
function refuse(/** @type {string} */ reason) {
  process.stderr.write(`${reason}\n`);
  process.exit(2);
}

/** The peers live in bench/node_modules: they are no dependencies of the product. */
function installPeers() {
  const { dependencies } = JSON.parse(readFileSync(here('package.json'), 'utf8'));
  const missing = Object.entries(dependencies).some(([name, version]) => {
    const manifest = here(`node_modules/${name}/package.json`);
    return !existsSync(manifest) || JSON.parse(readFileSync(manifest, 'utf8')).version !== version;
  });
  if (!missing) return;
  const options = { stdio: /** @type {any} */ (['ignore', 2, 2]) };
  execFileSync('npm', ['ci', '--prefix', here('.'), '--no-audit', '--no-fund'], options);
}

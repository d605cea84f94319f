/**
 * `npm run bench`: the outbox beside graphile-worker, pg-boss and a raw loop, on one Postgres, in one run, and what the
 * instrumentation costs. Without options it measures everything and rewrites docs/benchmarks.md; with any of them it
 * only prints, unless `--publish` is among them.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const here = (/** @type {string} */ path) => fileURLToPath(new URL(path, import.meta.url));
const SCENARIOS = [
  ...['drain', 'latency', 'processes', 'growth', 'snapshot', 'commits', 'flood', 'takeover', 'listener', 'restart'],
  'instrumentation',
];
/** These read /proc. */
const LINUX_ONLY = ['restart', 'instrumentation'];
const SIZES = { jobs: 20_000, seconds: 10, history: 1_000_000, finished: 100_000, flood: 50_000 };
const USAGE = `npm run bench -- [--publish] [--rounds <each scenario has its own number>]
  [--only ${SCENARIOS.join(',')}]
  ${Object.entries(SIZES)
    .map(([name, size]) => `[--${name} ${size}]`)
    .join(' ')}`;

const { given, publish, plan } = planned();
if (!existsSync(here('../dist/main.js'))) refuse('dist/ is not built: run `npm run build`');
installPeers();

const { runAll } = await import('./lib/run-all.mjs');
const { reportOf } = await import('./lib/report.mjs');
const results = await runAll(plan);
const { POSTGRES_BIN } = process.env;
const command = ['npm run bench', ...(given.length > 0 ? ['--', ...given] : [])];
if (POSTGRES_BIN) command.unshift(`POSTGRES_BIN=${POSTGRES_BIN}`);
const report = reportOf(results, command.join(' '), USAGE);
process.stdout.write(report);
if (publish) {
  writeFileSync(here('../docs/benchmarks.md'), report);
  process.stderr.write('docs/benchmarks.md is rewritten\n');
}
// Whatever a contender's library keeps open in this process, everything is written.
process.exit();

/** What the command line asks for. */
function planned() {
  const given = process.argv.slice(2);
  const text = /** @type {const} */ ({ type: 'string' });
  try {
    const options = { only: text, rounds: text, jobs: text, seconds: text, history: text, finished: text, flood: text };
    const { values } = parseArgs({ args: given, options: { ...options, publish: { type: 'boolean' } } });
    const whole = (/** @type {keyof typeof SIZES | 'rounds'} */ name) => {
      const value = Number(values[name]);
      if (!Number.isInteger(value) || value < 1) throw new Error(`--${name} must be a whole number from 1`);
      return value;
    };
    const size = (/** @type {keyof typeof SIZES} */ name) => (values[name] === undefined ? SIZES[name] : whole(name));
    const supported = SCENARIOS.filter((name) => process.platform === 'linux' || !LINUX_ONLY.includes(name));
    const only = values.only?.split(',') ?? supported;
    if (!only.every((name) => supported.includes(name))) throw new Error(`--only knows ${supported.join(', ')}`);
    const rounds = values.rounds === undefined ? undefined : whole('rounds');
    const sizes = { jobs: size('jobs'), seconds: size('seconds'), history: size('history') };
    const plan = { only, rounds, ...sizes, finished: size('finished'), flood: size('flood') };
    return { given, publish: values.publish ?? given.length === 0, plan };
  } catch (error) {
    return refuse(`${error instanceof Error ? error.message : String(error)}\n${USAGE}`);
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

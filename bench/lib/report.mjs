import { readFileSync } from 'node:fs';
import { availableParallelism, cpus, totalmem } from 'node:os';
import { SCENARIOS } from './scenarios.mjs';

/**
 * The results as the Markdown of docs/benchmarks.md.
 * @param {Awaited<ReturnType<typeof import('./run-all.mjs').runAll>>} results
 * @param {string} command what was typed to get them
 * @param {string} usage every option, with its default
 */
export function reportOf(results, command, usage) {
  const { plan, measured } = results;
  const sections = [...measured].map(([name, result]) =>
    SCENARIOS[/** @type {'drain'} */ (name)].section(result, plan),
  );
  return `${[head(results, command, usage), ...sections].join('\n\n')}\n`;
}

function head({ settings, seconds }, /** @type {string} */ command, /** @type {string} */ usage) {
  const version = (/** @type {string} */ name) =>
    JSON.parse(readFileSync(new URL(`../node_modules/${name}/package.json`, import.meta.url), 'utf8')).version;
  const memory = Math.round(totalmem() / 2 ** 30);
  return `# Benchmarks

Measured in ${Math.round(seconds)} s by \`${command}\`. Without options everything is measured and this page is rewritten:

\`\`\`
${usage}
\`\`\`

| | |
|---|---|
| date | ${new Date().toISOString().slice(0, 16).replace('T', ' ')} UTC |
| machine | ${availableParallelism()} cores of ${cpus()[0]?.model.trim() ?? 'an unknown model'}, ${memory} GB, ${process.platform} ${process.arch}; Postgres, the contender and this program share them |
| Node | ${process.version} |
| Postgres | ${settings.server_version}, ${process.env.POSTGRES_BIN ? 'installed' : 'from npm'}, shared_buffers ${settings.shared_buffers}; fsync ${settings.fsync}, synchronous_commit ${settings.synchronous_commit}, full_page_writes ${settings.full_page_writes} |
| beside it | graphile-worker ${version('graphile-worker')}, pg-boss ${version('pg-boss')}, pg ${version('pg')}: dependencies of \`bench/\`, not of the product |

**How to read it.** Machines like this one are shared, and the same program can be half or twice as fast an hour later:
absolute numbers are worth little, and only ratios between rows of one table, measured in one run on one Postgres in
shuffled order, mean anything. Every contender runs in a process of its own, on an empty database of its own, one at a
time. "Ours" is the built product's own outbox and dispatcher in a Nest application context: a lane for each key, a
delivery for each subscriber, fenced results, tenants in turns, a schema check, a deadline and metrics for each job. The
raw loop has none of that: it is what Postgres and the driver cost, and nobody can be faster by much. "As shipped" adds
what production does and the others were told not to: a redacted JSON line for each job, and a span. A contender that
could not do a scenario is a row that says so; a failure of ours ends the run.

**Which Postgres.** The one that npm brings, taken without \`POSTGRES_BIN\`, is built to be small (\`-Os\`): what Postgres does
weighs more there, and what is done in JavaScript less.`;
}

import { readFileSync } from 'node:fs';
import { availableParallelism, cpus, totalmem } from 'node:os';
import { LINE_UP as DRAIN } from '../scenarios/drain.mjs';
import { LINE_UP as LATENCY } from '../scenarios/latency.mjs';
import { IDLE_JOBS, RATE_PER_SECOND } from './run-all.mjs';
import { median, quantile } from './statistics.mjs';

/** @typedef {import('./run-all.mjs').Waits} Waits */

/**
 * The results as the Markdown of docs/benchmarks.md.
 * @param {Awaited<ReturnType<typeof import('./run-all.mjs').runAll>>} results
 * @param {string} command what was typed to get them
 * @param {boolean} partial whether they are only a part
 */
export function reportOf(results, command, partial) {
  const { plan, drain, latency, takeover } = results;
  const sections = [
    head(results, command, partial),
    drain && drainSection(drain, plan),
    latency && latencySection(latency, plan),
    takeover && takeoverSection(takeover),
  ];
  return `${sections.filter(Boolean).join('\n\n')}\n`;
}

function head({ settings, seconds }, command, partial) {
  const version = (/** @type {string} */ name) =>
    JSON.parse(readFileSync(new URL(`../node_modules/${name}/package.json`, import.meta.url), 'utf8')).version;
  const memory = Math.round(totalmem() / 2 ** 30);
  const origin = partial
    ? `Measured by \`${command}\`.`
    : `Written by \`${command}\`, which measured everything in ${Math.round(seconds)} s and rewrites this page. Options select a part and only
print: \`npm run bench -- --only drain,latency,takeover --rounds <n> --jobs <n> --seconds <n>\`.`;
  return `# Benchmarks

${origin}

| | |
|---|---|
| date | ${new Date().toISOString().slice(0, 16).replace('T', ' ')} UTC |
| machine | ${availableParallelism()} cores of ${cpus()[0]?.model.trim() ?? 'an unknown model'}, ${memory} GB, ${process.platform} ${process.arch}; Postgres, the contender and this program share them |
| Node | ${process.version} |
| Postgres | ${settings.server_version}, embedded, shared_buffers ${settings.shared_buffers}; fsync ${settings.fsync}, synchronous_commit ${settings.synchronous_commit}, full_page_writes ${settings.full_page_writes} |
| beside it | graphile-worker ${version('graphile-worker')}, pg-boss ${version('pg-boss')}, pg ${version('pg')}: dependencies of \`bench/\`, not of the product |

**How to read it.** Machines like this one are shared, and the same program can be half or twice as fast an hour later:
absolute numbers are worth little, and only ratios between rows of one table, measured in one run on one Postgres in
shuffled order, mean anything. Every contender runs in a process of its own, on an empty database of its own, one at a
time. "Ours" is the built product's own outbox and dispatcher in a Nest application context: a lane for each key, a
delivery for each subscriber, fenced results, tenants in turns, a schema check, a deadline and metrics for each job. The
raw loop has none of that: it is what Postgres and the driver cost, and nobody can be faster by much. "As shipped" adds
what production does and the others were told not to: a redacted JSON line for each job, and a span.`;
}

function drainSection(/** @type {Map<string, number[]>} */ rates, { jobs }) {
  const floor = median(rates.get(DRAIN.find(({ against }) => against)?.name ?? '') ?? []);
  const rows = [...rates]
    .map(([name, values]) => ({ name, values, middle: median(values) }))
    .sort((a, b) => b.middle - a.middle)
    .map(
      ({ name, values, middle }) =>
        `| ${name} | ${whole(middle)} | ${whole(Math.min(...values))}-${whole(Math.max(...values))} | ${(middle / floor).toFixed(2)} |`,
    );
  return `## Drain

${whole(jobs)} no-op jobs that were there before the contender started, each seen to run exactly once; ${rounds([...rates.values()][0]?.length ?? 0)}. Timed from the
first handler's start until the last job is marked as done, after a smaller drain in the same process as a warm-up. Ours:
every job in a lane of its own, 100 tenants unless it says otherwise. graphile-worker and pg-boss with their logs,
schedules and housekeeping off.

| contender | jobs/s, median | min-max | ratio to raw |
|---|---:|---:|---:|
${rows.join('\n')}`;
}

function latencySection(/** @type {Map<string, Waits[]>} */ waits, { seconds }) {
  const all = (/** @type {string} */ name, /** @type {keyof Waits} */ part) =>
    (waits.get(name) ?? []).flatMap((round) => round[part]);
  const floor = LATENCY.find(({ against }) => against)?.name ?? '';
  const cells = (/** @type {string} */ name, /** @type {keyof Waits} */ part) => {
    const [p50 = Number.NaN, p95, p99] = [0.5, 0.95, 0.99].map((share) => quantile(all(name, part), share));
    const medians = (waits.get(name) ?? []).map((round) => quantile(round[part], 0.5));
    const spread = `${ms(Math.min(...medians))}-${ms(Math.max(...medians))}`;
    return `${ms(p50)} (${spread}) | ${ms(p95)} | ${ms(p99)} | ${(p50 / quantile(all(floor, part), 0.5)).toFixed(1)}`;
  };
  const rows = [...waits.keys()].map((name) => `| ${name} | ${cells(name, 'idle')} | ${cells(name, 'rate')} |`);
  return `## Latency

Milliseconds from just before the enqueue is sent to the start of its handler, in one process;
${rounds(waits.get(floor)?.length ?? 0)} taken together, in brackets the least and the greatest p50 of a round. Idle: ${IDLE_JOBS} jobs a round, one at a
time, with uneven pauses. At ${RATE_PER_SECOND}/s: ${seconds} s a round, an open loop. Ours publishes in a business transaction of four
round trips (begin, the lock that keeps the order of its key, event with deliveries, commit), as an outbox
must; graphile-worker and pg-boss are given one statement of their own. "x" is p50 to the p50 of the first row.

| contender | idle p50 | p95 | p99 | x | ${RATE_PER_SECOND}/s p50 | p95 | p99 | x |
|---|---:|---:|---:|---:|---:|---:|---:|---:|
${rows.join('\n')}

pg-boss without notify, which is its default, waits for its poll: two seconds, half a second at the least.`;
}

function takeoverSection(/** @type {number[][]} */ takeovers) {
  const all = takeovers.flat();
  const firsts = takeovers.map((round) => Math.min(...round));
  const lasts = takeovers.map((round) => Math.max(...round));
  const row = (/** @type {string} */ what, /** @type {number[]} */ values) =>
    `| ${what} | ${[0.5, 0.99, 1].map((share) => ms(quantile(values, share))).join(' | ')} |`;
  return `## Takeover

Milliseconds from SIGKILL of the process that holds ${takeovers[0]?.length ?? 0} leased rows, half of them in running handlers, to the second start
of a row in another process with default settings; ${rounds(takeovers.length)}.

| | p50 | p99 | max |
|---|---:|---:|---:|
${row('every row', all)}
${row('first row of a round', firsts)}
${row('last row of a round', lasts)}

For the others this was not measured here; what they publish about a job whose worker was killed:

| | published |
|---|---|
| [graphile-worker](https://worker.graphile.org/docs/performance) | 4 hours, swept every 8 to 10 minutes; sooner with Worker Pro's heartbeats |
| [pg-boss](https://pgboss.io/) | \`expireInSeconds\`, 15 minutes; with \`heartbeatSeconds\`, which is off by default, 10 s at the least |
| [River](https://riverqueue.com/docs) | 1 hour (\`RescueStuckJobsAfter\`) |
| [Oban](https://hexdocs.pm/oban/Oban.Plugins.Lifeline.html) | 1 hour (\`rescue_after\` of Lifeline) |
| [Solid Queue](https://github.com/rails/solid_queue) | 5 minutes (\`process_alive_threshold\`) |`;
}

function rounds(/** @type {number} */ count) {
  return `${count} ${count === 1 ? 'round' : 'rounds'}`;
}

function whole(/** @type {number} */ value) {
  return Math.round(value).toLocaleString('en-US');
}

function ms(/** @type {number | undefined} */ value = Number.NaN) {
  return value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2);
}

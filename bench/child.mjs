// One job of the benchmarks in a process of its own: `node child.mjs '<job as JSON>'`, forked by run.mjs.
import { measure as drain } from './scenarios/drain.mjs';
import { measure as latency } from './scenarios/latency.mjs';
import { play as takeover } from './scenarios/takeover.mjs';

process.once('disconnect', () => process.exit(1));

const job = JSON.parse(process.argv[2] ?? '{}');
const scenario = { drain, latency, takeover }[/** @type {'drain'} */ (job.scenario)];
try {
  const value = await scenario(job);
  process.send?.({ type: job.role ? 'ready' : 'result', value }, () => {
    if (!job.role) process.exit(0);
  });
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.stack : error}\n`, () => process.exit(1));
}

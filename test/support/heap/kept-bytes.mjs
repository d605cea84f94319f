/**
 * Prints how many bytes of the heap a workload keeps when only what is young is collected. Run with `--expose-gc`, in a
 * process of its own: in one that has had other work before, what that left and how V8 has come to compile it count too.
 */
/** @typedef {{ steps: number, step: (i: number) => unknown, end: () => unknown }} Workload */

const COLLECTIONS = 40;
const [workload = ''] = process.argv.slice(2);
/** @type {{ start: () => Workload }} */
const { start } = await import(new URL(workload, import.meta.url).href);
const { steps, step, end } = start();
const collect = /** @type {NodeJS.GCFunction} */ (globalThis.gc);

await step(0);
// Whatever the workload is done with is old from now on.
collect();
const before = process.memoryUsage().heapUsed;
for (let i = 0; i < steps; i++) {
  await step(i);
  if (i % (steps / COLLECTIONS) === 0) collect({ type: 'minor' });
}
collect({ type: 'minor' });
collect({ type: 'minor' });
console.log(process.memoryUsage().heapUsed - before);
await end();

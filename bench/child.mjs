// One job of the benchmarks in a process of its own: `node child.mjs '<job as JSON>'`, forked by lib/processes.mjs.
process.once('disconnect', () => process.exit(1));

const job = JSON.parse(process.argv[2] ?? '{}');
try {
  const { play } = await import(job.actor ? './lib/actor.mjs' : `./scenarios/${job.scenario}.mjs`);
  const value = await play(job);
  const stays = job.actor || job.role;
  process.send?.({ type: stays ? 'ready' : 'result', value }, () => {
    if (!stays) process.exit(0);
  });
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.stack : error}\n`, () => process.exit(1));
}

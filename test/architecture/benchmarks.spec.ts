import { execFileSync } from 'node:child_process';
import { globSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const ROOT = new URL('../..', import.meta.url);
/** Whose dependencies only the benchmarks have, installed when they are run. */
const PEERS = ['bench/contenders/graphile-worker.mjs', 'bench/contenders/pg-boss.mjs'];

describe('the benchmarks', () => {
  const modules = globSync('bench/{contenders,lib,scenarios}/*.mjs', { cwd: fileURLToPath(ROOT) })
    .filter((path) => !PEERS.includes(path))
    .toSorted();

  it('can be loaded: what they import of the built product is there', () => {
    expect(modules.length).toBeGreaterThan(20);
    const urls = modules.map((path) => new URL(path, ROOT).href);
    const load = `for (const url of ${JSON.stringify(urls)}) await import(url); process.exit();`;
    execFileSync(process.execPath, ['--input-type=module', '--eval', load], { timeout: 30_000 });
  });
});

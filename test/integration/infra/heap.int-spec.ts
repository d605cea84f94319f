import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const KEPT_BYTES = fileURLToPath(new URL('../../support/heap/kept-bytes.mjs', import.meta.url));
const FLAGS = ['--expose-gc', '--no-allocation-site-pretenuring'];

async function keptBytes(workload: string): Promise<number> {
  const { stdout } = await promisify(execFile)(process.execPath, [...FLAGS, KEPT_BYTES, workload], { timeout: 45_000 });
  return Number(stdout);
}

describe('minor collections, of which there are many to each full one, free', () => {
  it('what statements answered; the driver by itself keeps 28 MB', async () => {
    expect(await keptBytes('./statements.mjs')).toBeLessThan(5e6);
  });

  it('the deliveries that the fair queue has let go, which are 20 MB', async () => {
    expect(await keptBytes('./deliveries.mjs')).toBeLessThan(4e6);
  });
});

import { randomInt } from 'node:crypto';
import { holdPort } from '../../src/demo/development.js';

/** Below the ports of outgoing connections, of which there are hundreds a second in a run: one could get this port first. */
const [LEAST, END] = [10_000, 32_768];

/** A port that nobody listens on, for a server that is about to start. */
export async function freePort(): Promise<number> {
  const wanted = randomInt(LEAST, END);
  const { port, release } = await holdPort(wanted);
  await release();
  return port === wanted ? port : freePort();
}

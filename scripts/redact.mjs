// A log, or any text, from standard input to standard output, redacted as the app would.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createInterface } from 'node:readline';

const built = new URL('../dist/common/logging/redactor.js', import.meta.url);
if (!existsSync(built)) {
  // Whatever the build has to say does not belong into the redacted text.
  const { status } = spawnSync('npx', ['nest', 'build'], { stdio: ['ignore', 2, 2] });
  if (status !== 0) process.exit(1);
}
const { redactLine } = await import(built);

process.stdout.on('error', () => process.exit(0));
for await (const line of createInterface({ input: process.stdin, crlfDelay: Number.POSITIVE_INFINITY })) {
  if (!process.stdout.write(`${redactLine(line)}\n`))
    await new Promise((drained) => process.stdout.once('drain', drained));
}

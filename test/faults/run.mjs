// The long form of the fault suite: npm run faults -- [--seed N] [--minutes M] [--kills K] [--rows 1,5,8]
import { spawn } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: String(randomInt(2 ** 31)) },
    minutes: { type: 'string', default: '10' },
    kills: { type: 'string', default: '100' },
    rows: { type: 'string' },
  },
});
for (const name of ['seed', 'minutes', 'kills']) {
  if (!(Number(values[name]) >= 0)) throw new Error(`--${name} must be a number, not ${values[name]}`);
}
const rows = values.rows?.split(',').map(Number);
if (rows?.some((row) => !(row >= 1 && row <= 26))) throw new Error('--rows takes rows of the matrix, such as 1,5,8');

const repeat = [`--seed ${values.seed} --minutes ${values.minutes} --kills ${values.kills}`];
if (rows) repeat.push(`--rows ${rows}`);
console.log(`npm run faults -- ${repeat.join(' ')}`);

const jest = ['--experimental-vm-modules', '--no-warnings', 'node_modules/jest/bin/jest.js', 'test/faults'];
// One after the other: each has the machine to itself, and its lines stay together.
const flags = ['--runInBand', '--verbose'];
if (rows) flags.push('-t', `row (${rows.join('|')})\\b|random schedule`);
const child = spawn(process.execPath, [...jest, ...flags], {
  cwd: ROOT,
  stdio: 'inherit',
  env: {
    ...process.env,
    FAULTS_LONG: 'true',
    FAULTS_SEED: values.seed,
    FAULTS_MINUTES: values.minutes,
    FAULTS_KILLS: values.kills,
    ...(rows && { FAULTS_ROWS: rows.join(',') }),
  },
});
child.on('close', (code, signal) => {
  console.log(`${code === 0 ? 'every promise was kept' : `not so (${signal ?? code})`}: seed ${values.seed}`);
  process.exitCode = code ?? 1;
});

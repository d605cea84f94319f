import { randomInt } from 'node:crypto';

/** What to run, from the environment that `npm run faults` sets; without it the short form, which CI runs. */
export const FORM = {
  /** Repeats the order of faults, their victims and their durations; not the scheduling of the machine. */
  seed: Number(process.env['FAULTS_SEED'] ?? randomInt(2 ** 31)),
  /** How long the random schedule lasts, in ms. */
  scheduleMs: Number(process.env['FAULTS_MINUTES'] ?? 0.3) * 60_000,
  /** How often a process is killed at a named step. */
  kills: Number(process.env['FAULTS_KILLS'] ?? 8),
  /** Rows of the matrix that the random schedule draws from. */
  rows: process.env['FAULTS_ROWS']?.split(',').map(Number),
  isLong: process.env['FAULTS_LONG'] === 'true',
};

/** What was done to the deployment, and when; shown as it happens in the long form, and with every failure. */
export class Journal {
  readonly lines: string[] = [];
  private readonly startedAt = performance.now();

  note(what: string): void {
    const line = `+${((performance.now() - this.startedAt) / 1_000).toFixed(1)} s  ${what}`;
    this.lines.push(line);
    if (FORM.isLong) process.stdout.write(`${line}\n`);
  }
}

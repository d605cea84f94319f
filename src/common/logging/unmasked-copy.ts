import { closeSync, mkdirSync, openSync, readdirSync, rmSync, statSync, writeSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { metrics } from '../metrics/metrics.js';

/** The longest that unmasked lines may be kept, and the furthest ahead that their end may be set. */
export const MAX_UNMASKED_MS = 4 * 3_600_000;

/** A full disk would take the service with it. */
const MAX_BYTES = 256 * 1024 * 1024;
const FILE = /^log-unmasked\.(\d+)\.ndjson$/;

export interface UnmaskedCopyOptions {
  /** Made when it is not there; never a place whose files are collected. */
  directory: string;
  until: Date;
  /** Called once, after the file is gone. */
  onEnd?: () => void;
}

/**
 * The lines of the log as they were before the redactor, in a file of their own: readable by this process's user only,
 * deleted when its time is over, when it is full (256 MB) or when the process ends. What a killed process leaves behind is deleted
 * by the next start over the same directory.
 */
export class UnmaskedCopy {
  readonly file: string;
  private readonly descriptor: number;
  private readonly timer: NodeJS.Timeout;
  private bytes = 0;
  private open = true;

  /** @throws NodeJS.ErrnoException when the directory cannot be written */
  constructor(private readonly options: UnmaskedCopyOptions) {
    this.file = join(resolve(options.directory), `log-unmasked.${process.pid}.ndjson`);
    mkdirSync(options.directory, { recursive: true });
    // Exclusive, so that nobody else's file, nor where a link of somebody's points, is written into.
    this.descriptor = openSync(this.file, 'ax', 0o600);
    process.on('exit', this.end);
    this.timer = setTimeout(this.end, options.until.getTime() - Date.now()).unref();
    metrics.set('log_unmasked_active', 1);
  }

  /** Never throws: a copy that cannot be written must not cost the line itself. */
  write(line: string): void {
    if (!this.open) return;
    this.bytes += Buffer.byteLength(line);
    // A machine that slept wakes up before its timers do.
    const isOver = this.bytes > MAX_BYTES || Date.now() >= this.options.until.getTime();
    if (isOver || !this.append(line)) this.end();
  }

  /** Deletes the file; nothing is written any more. */
  readonly end = (): void => {
    if (!this.open) return;
    this.open = false;
    clearTimeout(this.timer);
    process.off('exit', this.end);
    rmSync(this.file, { force: true });
    closeSync(this.descriptor);
    metrics.set('log_unmasked_active', 0);
    this.options.onEnd?.();
  };

  private append(line: string): boolean {
    try {
      writeSync(this.descriptor, line);
      metrics.increment('log_unmasked_lines_total');
      return true;
    } catch {
      return false;
    }
  }
}

/** Deletes the unmasked copies in a directory that no running process can still be writing. */
export function removeUnmaskedLeftovers(directory: string): void {
  for (const name of namesIn(directory)) {
    const pid = Number(FILE.exec(name)?.[1]);
    if (!pid) continue;
    const file = join(directory, name);
    // In a container every process has the same number; one that is somebody else's by now has written nothing lately.
    if (pid === process.pid || !isRunning(pid) || Date.now() - lastWrittenMs(file) > MAX_UNMASKED_MS) {
      rmSync(file, { force: true });
    }
  }
}

function namesIn(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}

function isRunning(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

function lastWrittenMs(file: string): number {
  return statSync(file, { throwIfNoEntry: false })?.mtimeMs ?? 0;
}

import { execFileSync, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { open, readFile, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { type OsUser, type PostgresBinaries, spawnOptions } from './postgres-binaries.js';
import { processIdentity } from './postgres-users.js';

const START_DEADLINE_MS = 25_000;
const FAST_SHUTDOWN_MS = 10_000;
const IMMEDIATE_SHUTDOWN_MS = 5_000;
const POLL_MS = 15;

/** A running server. */
export interface RunningServer {
  pid: number;
  port: number;
}

/** Where a server keeps its data and writes its log, and the user it runs as, if that is not this process's own. */
export interface ServerPlace {
  clusterDir: string;
  logFile: string;
  user: OsUser | undefined;
}

/**
 * The server that already runs on `clusterDir`, once it is ready. A postmaster.pid left by a process that is gone, or
 * whose pid now belongs to another program, counts as none.
 */
export async function findRunningServer({ clusterDir, logFile }: ServerPlace): Promise<RunningServer | undefined> {
  const deadline = Date.now() + START_DEADLINE_MS;
  for (;;) {
    const found = await readPostmasterFile(clusterDir);
    if (found === undefined) return undefined;
    if (!isPostmaster(found.pid, clusterDir)) {
      // Postgres itself would refuse to start while any program has this pid. If none has, it removes the file,
      // after having made sure that no orphan of the old server still uses the data.
      if (processIdentity(found.pid) !== undefined) await rm(join(clusterDir, 'postmaster.pid'), { force: true });
      return undefined;
    }
    if (found.status === 'ready' && found.port !== undefined) return { pid: found.pid, port: found.port };
    if (Date.now() > deadline) {
      throw new Error(
        `Postgres (pid ${found.pid}) has been "${found.status ?? 'starting'}" for ${START_DEADLINE_MS / 1000} s; ` +
          `its log is ${logFile}`,
      );
    }
    await pause(POLL_MS);
  }
}

/** Starts a server of its own process group on a free port of 127.0.0.1 and waits until it is ready. */
export async function launchServer(
  binaries: PostgresBinaries,
  place: ServerPlace,
  settings: Record<string, string>,
): Promise<RunningServer> {
  const deadline = Date.now() + START_DEADLINE_MS;
  for (;;) {
    const outcome = await launchOnce(binaries, place, { ...settings, port: String(await freePort()) }, deadline);
    if (outcome.server) return outcome.server;
    // The port was taken in between, or the last processes of a killed server are just ending.
    const passing = /could not bind|Address already in use|pre-existing shared memory/.test(outcome.log);
    if (!passing || Date.now() > deadline) {
      const reason = outcome.log.split('\n').findLast((line) => /FATAL|PANIC|ERROR/.test(line));
      throw new Error(`Postgres did not start: ${reason ?? outcome.failure}; its log is ${place.logFile}`);
    }
    await pause(POLL_MS);
  }
}

async function launchOnce(
  binaries: PostgresBinaries,
  { clusterDir, logFile, user }: ServerPlace,
  settings: Record<string, string>,
  deadline: number,
): Promise<{ server?: RunningServer; failure: string; log: string }> {
  const log = await open(logFile, 'a+', 0o600);
  try {
    const logStart = (await log.stat()).size;
    const flags = Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
    const child = spawn(binaries.postgres, ['-D', clusterDir, ...flags], {
      ...spawnOptions(user),
      // A group of its own: Ctrl-C in the terminal reaches the app, which stops the server when it has finished.
      detached: true,
      stdio: ['ignore', log.fd, log.fd],
    });
    let failure: string | undefined;
    child.once('error', (error) => {
      failure = error.message;
    });
    child.once('exit', (code, signal) => {
      failure = `it ended with ${signal ?? `code ${code}`}`;
    });
    child.unref();
    while (failure === undefined) {
      const found = await readPostmasterFile(clusterDir);
      if (found !== undefined && found.pid === child.pid && found.status === 'ready' && found.port !== undefined) {
        return { server: { pid: found.pid, port: found.port }, failure: '', log: '' };
      }
      if (Date.now() > deadline) {
        child.kill('SIGQUIT');
        failure = `it was not ready within ${START_DEADLINE_MS / 1000} s`;
      }
      await pause(POLL_MS);
    }
    return { failure, log: await readFrom(log, logStart) };
  } finally {
    await log.close();
  }
}

/** Ends a server: fast shutdown, and an immediate one if that takes more than 10 s. */
export async function stopServer({ pid }: RunningServer, { logFile }: ServerPlace): Promise<void> {
  const identity = processIdentity(pid);
  for (const [signal, patienceMs] of [
    ['SIGINT', FAST_SHUTDOWN_MS],
    ['SIGQUIT', IMMEDIATE_SHUTDOWN_MS],
  ] as const) {
    const deadline = Date.now() + patienceMs;
    if (identity === undefined || processIdentity(pid) !== identity) return;
    process.kill(pid, signal);
    while (Date.now() < deadline) {
      if (processIdentity(pid) !== identity) return;
      await pause(POLL_MS);
    }
  }
  const waited = (FAST_SHUTDOWN_MS + IMMEDIATE_SHUTDOWN_MS) / 1000;
  throw new Error(`Postgres (pid ${pid}) did not stop within ${waited} s; its log is ${logFile}`);
}

/** The lines of postmaster.pid that matter here: pid (1), port (4) and status (8); the later ones appear by and by. */
async function readPostmasterFile(
  clusterDir: string,
): Promise<{ pid: number; port: number | undefined; status: string | undefined } | undefined> {
  const content = await readFile(join(clusterDir, 'postmaster.pid'), 'utf8').catch(() => undefined);
  if (content === undefined) return undefined;
  const lines = content.split('\n');
  const pid = Number(lines[0]);
  if (!Number.isInteger(pid) || pid <= 0) return undefined;
  return { pid, port: lines[3] ? Number(lines[3]) : undefined, status: lines[7]?.trim() || undefined };
}

/** Whether `pid` is a server that was started on `clusterDir`, and has not ended. */
function isPostmaster(pid: number, clusterDir: string): boolean {
  if (processIdentity(pid) === undefined) return false;
  try {
    if (process.platform !== 'linux') {
      return execFileSync('ps', ['-ww', '-o', 'command=', '-p', String(pid)], { encoding: 'utf8' }).includes(
        ` -D ${clusterDir} `,
      );
    }
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(`\0-D\0${clusterDir}\0`);
  } catch {
    return false;
  }
}

async function freePort(): Promise<number> {
  const server = createServer();
  return await new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      const port = typeof address === 'object' && address !== null ? address.port : 0;
      server.close(() => resolve(port));
    });
  });
}

async function readFrom(file: Awaited<ReturnType<typeof open>>, position: number): Promise<string> {
  const buffer = Buffer.alloc(64 * 1024);
  const { bytesRead } = await file.read(buffer, 0, buffer.length, position);
  return buffer.toString('utf8', 0, bytesRead);
}

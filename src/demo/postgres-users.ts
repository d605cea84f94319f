import { execFileSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { mkdir, readdir, readFile, rm, unlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';

const LOCK_WAIT_MS = 30_000;
const POLL_MS = 25;

/**
 * What tells a running process from another that later gets the same pid: its start time, and the boot it belongs to.
 * Undefined when there is no such process, or when it has ended and only waits for its parent to notice.
 */
export function processIdentity(pid: number): string | undefined {
  try {
    if (process.platform !== 'linux') {
      const line = execFileSync('ps', ['-o', 'stat=', '-o', 'lstart=', '-p', String(pid)], { encoding: 'utf8' }).trim();
      const [state, ...started] = line.split(/\s+/);
      return state === undefined || state.startsWith('Z') ? undefined : started.join('-');
    }
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The second field is the program's name in parentheses and may itself contain spaces and parentheses.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    const [state, startTicks] = [fields[0], fields[19]];
    if (state === 'Z' || state === 'X' || startTicks === undefined) return undefined;
    const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
    return `${startTicks}@${boot}`;
  } catch {
    return undefined;
  }
}

/** Notes that this process uses the server of `dataDir`; the returned file is removed when it no longer does. */
export async function registerUser(dataDir: string): Promise<string> {
  await mkdir(usersDirectory(dataDir), { recursive: true });
  const file = join(usersDirectory(dataDir), `${process.pid}-${randomUUID()}`);
  await writeFile(file, processIdentity(process.pid) ?? '', { flag: 'wx' });
  return file;
}

/** How many registrations there are in `dataDir`, and how many of them belong to a process that still runs. */
export async function registeredUsers(dataDir: string): Promise<{ total: number; live: number }> {
  const users = await readUsers(dataDir);
  return { total: users.length, live: users.filter((user) => user.live).length };
}

/** Removes the registrations of processes that have ended. */
export async function forgetDeadUsers(dataDir: string): Promise<void> {
  for (const user of await readUsers(dataDir)) {
    if (!user.live) await rm(user.file, { force: true });
  }
}

async function readUsers(dataDir: string): Promise<Array<{ file: string; live: boolean }>> {
  const names = await readdir(usersDirectory(dataDir)).catch(() => []);
  const users = names.map(async (name) => {
    const file = join(usersDirectory(dataDir), name);
    const identity = await readFile(file, 'utf8').catch(() => undefined);
    const current = processIdentity(Number.parseInt(name, 10));
    // An empty file is being written this moment.
    const live = identity !== undefined && current !== undefined && (identity === '' || identity === current);
    return { file, live };
  });
  return await Promise.all(users);
}

/** Holds one file for each use of the server, named after the process. */
export function usersDirectory(dataDir: string): string {
  return join(dataDir, 'users');
}

/**
 * Runs `work` while no other process, and no other caller in this one, starts or stops the server of `dataDir`.
 * The lock of a process that died is taken over. Waits at most 30 s.
 */
export async function withServerLock<T>(dataDir: string, work: () => Promise<T>): Promise<T> {
  const file = join(dataDir, 'postgres.lock');
  const owner = `${process.pid} ${processIdentity(process.pid)} ${randomUUID()}`;
  const deadline = Date.now() + LOCK_WAIT_MS;
  while (!(await createExclusively(file, owner))) {
    await removeAbandonedLock(file);
    if (Date.now() > deadline) {
      throw new Error(
        `Waited ${LOCK_WAIT_MS / 1000} s for another process to finish starting or stopping Postgres. ` +
          `If there is none, remove ${file}*; the log is ${join(dataDir, 'postgres.log')}`,
      );
    }
    await pause(POLL_MS);
  }
  try {
    return await work();
  } finally {
    await rm(file, { force: true });
  }
}

/**
 * Two processes may find the same abandoned lock, and the slower one must not remove the lock that the faster has
 * made in the meantime: only the holder of the claim named after the abandoned lock may remove it.
 */
async function removeAbandonedLock(file: string): Promise<void> {
  const abandoned = await readFile(file, 'utf8').catch(() => '');
  const [pid, identity, id] = abandoned.split(' ');
  if (id === undefined || processIdentity(Number(pid)) === identity) return;
  const claim = `${file}.${id}`;
  if (!(await createExclusively(claim, ''))) return;
  try {
    if ((await readFile(file, 'utf8').catch(() => '')) === abandoned) await unlink(file);
  } finally {
    await unlink(claim);
  }
}

async function createExclusively(file: string, content: string): Promise<boolean> {
  try {
    await writeFile(file, content, { flag: 'wx', mode: 0o600 });
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
}

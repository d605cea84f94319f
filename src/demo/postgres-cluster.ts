import { execFile } from 'node:child_process';
import { createHash, randomBytes, randomUUID } from 'node:crypto';
import { chown, mkdir, readdir, readFile, rename, rm, rmdir, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import {
  canEnter,
  type OsUser,
  ownDirectory,
  type PostgresBinaries,
  sharedTemporaryDirectory,
  spawnOptions,
  unprivilegedUser,
} from './postgres-binaries.js';
import { findRunningServer, type ServerPlace, stopServer } from './postgres-process.js';
import { usersDirectory } from './postgres-users.js';

const INITDB_DEADLINE_MS = 25_000;
const UNFINISHED_PREFIX = 'postgres.unfinished-';

const BUILTIN_LOCALE = ['--locale-provider=builtin', '--builtin-locale=C.UTF-8'];
const hasBuiltinLocales = ({ majorVersion }: PostgresBinaries) => Number(majorVersion) >= 17;

/** The one role of an embedded server. */
export const SUPERUSER = 'postgres';

/** Where a cluster lives, and as which user its server runs. */
export interface Cluster extends ServerPlace {
  /** Password, log, lock and users: the directory that the caller named. */
  dataDir: string;
  /** The directory that holds `clusterDir`: `dataDir`, unless the server's user cannot enter that. */
  home: string;
}

/**
 * Decides where the cluster of `dataDir` lives. As root, the server runs as another user, who may be unable to enter
 * `dataDir` (a clone in /root): then the cluster goes under /var/tmp, and nobody's permissions are changed.
 */
export async function locateCluster(dataDir: string): Promise<Cluster> {
  const unprivileged = await unprivilegedUser();
  const logFile = join(dataDir, 'postgres.log');
  const inPlace = join(dataDir, 'postgres');
  const user = await serverUser(inPlace, unprivileged);
  if (await canEnter(user, dataDir)) return { dataDir, home: dataDir, clusterDir: inPlace, logFile, user };

  const base = await sharedTemporaryDirectory(unprivileged);
  const home = join(base, `nevermisscall-${createHash('sha256').update(dataDir).digest('hex').slice(0, 12)}`);
  await ownDirectory(home);
  const clusterDir = join(home, 'postgres');
  return { dataDir, home, clusterDir, logFile, user: await serverUser(clusterDir, unprivileged) };
}

/** The superuser's password, made at the first start and kept in `postgres.password`, readable by this user alone. */
export async function clusterPassword(cluster: Cluster): Promise<string> {
  const file = passwordFile(cluster.dataDir);
  const existing = await readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT') throw error;
    return undefined;
  });
  if (existing !== undefined && existing !== '') return existing;
  await discardLockedCluster(cluster);
  const password = randomBytes(24).toString('base64url');
  await writeFile(file, password, { mode: 0o600 });
  return password;
}

/** Removes the cluster and what belongs to it. Nobody may be using it. */
export async function removeCluster(cluster: Cluster): Promise<void> {
  const { clusterDir, dataDir, home, logFile } = cluster;
  const running = await findRunningServer(cluster);
  if (running) await stopServer(running, cluster);
  await removeUnfinished(home);
  for (const path of [clusterDir, passwordFile(dataDir), logFile, usersDirectory(dataDir)]) {
    await rm(path, { recursive: true, force: true });
  }
  if (home !== dataDir) await rm(home, { recursive: true, force: true });
}

function passwordFile(dataDir: string): string {
  return join(dataDir, 'postgres.password');
}

/** A cluster whose password is gone. Under /var/tmp it only means that its data directory was removed. */
async function discardLockedCluster(cluster: Cluster): Promise<void> {
  const { clusterDir, dataDir, home } = cluster;
  if (!(await exists(clusterDir))) return;
  if (home === dataDir) {
    if ((await completeVersion(clusterDir)) === undefined) return;
    const missing = passwordFile(dataDir);
    throw new Error(`${missing} is missing, so the data in ${clusterDir} cannot be opened: remove ${clusterDir}`);
  }
  const running = await findRunningServer(cluster);
  if (running) await stopServer(running, cluster);
  await rm(clusterDir, { recursive: true });
}

/** Makes the cluster if there is none yet, and refuses one that another version of Postgres made. */
export async function ensureCluster(
  cluster: Cluster,
  binaries: PostgresBinaries,
  password: string,
  options: { durable: boolean; onNotice: (line: string) => void },
): Promise<void> {
  const { clusterDir, home } = cluster;
  await removeUnfinished(home);
  if (await exists(clusterDir)) {
    const version = await completeVersion(clusterDir);
    if (version === binaries.majorVersion) return;
    if (version !== undefined) {
      throw new Error(
        `${clusterDir} was made by Postgres ${version}, and this is Postgres ${binaries.majorVersion}: ` +
          `remove ${clusterDir} (its data is lost) or set DATABASE_URL`,
      );
    }
    await setAside(clusterDir, options.onNotice);
  }
  await initialise(cluster, binaries, password, options.durable);
}

/** The major version that made a cluster; undefined if the directory is not a whole cluster. */
async function completeVersion(clusterDir: string): Promise<string | undefined> {
  if (!(await exists(join(clusterDir, 'global', 'pg_control')))) return undefined;
  const content = await readFile(join(clusterDir, 'PG_VERSION'), 'utf8').catch(() => undefined);
  return content?.trim();
}

/** The cluster is made in a sibling and renamed when complete: one that is there under its name is whole. */
async function initialise(
  { clusterDir, home, user }: Cluster,
  binaries: PostgresBinaries,
  password: string,
  durable: boolean,
): Promise<void> {
  const unfinished = join(home, `${UNFINISHED_PREFIX}${randomUUID()}`);
  const pwfile = join(unfinished, 'password');
  await mkdir(unfinished, { mode: 0o700 });
  try {
    await writeFile(pwfile, password, { mode: 0o600 });
    if (user) {
      await chown(pwfile, user.uid, user.gid);
      await chown(unfinished, user.uid, user.gid);
    }
    const data = join(unfinished, 'data');
    const flags = [
      ...[`--pgdata=${data}`, `--username=${SUPERUSER}`, `--pwfile=${pwfile}`, '--auth=scram-sha-256'],
      // The same order of strings on every machine, whatever locales it has.
      ...['--encoding=UTF8', '--locale=C', ...(hasBuiltinLocales(binaries) ? BUILTIN_LOCALE : [])],
      ...(durable ? [] : ['--no-sync']),
    ];
    await promisify(execFile)(binaries.initdb, flags, { ...spawnOptions(user), timeout: INITDB_DEADLINE_MS }).catch(
      (error: Error & { stderr?: string; killed?: boolean }) => {
        const reason = error.killed ? `not done within ${INITDB_DEADLINE_MS / 1000} s` : error.stderr || error.message;
        throw new Error(`initdb in ${unfinished} failed: ${reason.trim()}`);
      },
    );
    await rename(data, clusterDir);
  } finally {
    await rm(unfinished, { recursive: true, force: true });
  }
}

/** What an initdb left whose parent was killed. It may still be writing, then the next start gets the rest. */
async function removeUnfinished(home: string): Promise<void> {
  for (const name of await readdir(home)) {
    if (!name.startsWith(UNFINISHED_PREFIX)) continue;
    await rm(join(home, name), { recursive: true, force: true, maxRetries: 3 }).catch(() => undefined);
  }
}

/** Not made by us, and no server starts on it; but it may be all that is left of somebody's data. */
async function setAside(clusterDir: string, onNotice: (line: string) => void): Promise<void> {
  const wasEmpty = await rmdir(clusterDir).then(
    () => true,
    () => false,
  );
  if (wasEmpty) return;
  const aside = `${clusterDir}.incomplete-${randomUUID()}`;
  await rename(clusterDir, aside);
  onNotice(`${clusterDir} was not a complete Postgres cluster: it is now ${aside}, and a new one is made.`);
}

/** An existing cluster can only be run by the user who owns it; a new one will belong to `unprivileged`. */
async function serverUser(clusterDir: string, unprivileged: OsUser | undefined): Promise<OsUser | undefined> {
  const found = await stat(clusterDir).catch(() => undefined);
  if (!unprivileged || !found || found.uid === 0 || found.uid === unprivileged.uid) return unprivileged;
  return { name: `uid ${found.uid}`, uid: found.uid, gid: found.gid };
}

async function exists(path: string): Promise<boolean> {
  return (await stat(path).catch(() => undefined)) !== undefined;
}

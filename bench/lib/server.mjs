import { spawn } from 'node:child_process';
import { chmod, mkdtemp, readdir, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { removeEmbeddedPostgres, startEmbeddedPostgres } from '../../dist/demo/embedded-postgres.js';
import { registeredUsers } from '../../dist/demo/postgres-users.js';
import { now } from './clock.mjs';
import { until } from './wait.mjs';

const DIRECTORY_PREFIX = 'nmc-bench-';
const CRASH_DEADLINE_MS = 20_000;

/** @type {Set<{ stop: () => Promise<void> }>} */
const servers = new Set();

/** A Postgres, durable as in production, in a directory that goes with it. One serves the whole run. */
export async function startServer() {
  if (servers.size === 0) await removeLeftovers();
  const directory = await mkdtemp(join(tmpdir(), DIRECTORY_PREFIX));
  // mkdtemp allows only its owner, and as root the server runs as another user.
  await chmod(directory, 0o755);
  const server = await startEmbeddedPostgres({ dataDir: directory, database: 'postgres', onNotice: () => {} });
  let admin = await connect(server.url);
  let databases = 0;
  /** @type {Promise<void> | undefined} */
  let stopping;
  const stop = async () => {
    await admin.end().catch(() => {});
    await server.stop();
    await removeEmbeddedPostgres(directory);
    await rm(directory, { recursive: true, force: true });
    servers.delete(handle);
  };
  const handle = {
    /** Settings that decide what a commit costs, by name. */
    async settings() {
      const names = ['server_version', 'fsync', 'synchronous_commit', 'shared_buffers', 'full_page_writes'];
      const { rows } = await admin.query('select n as name, current_setting(n) as setting from unnest($1::text[]) n', [
        names,
      ]);
      return Object.fromEntries(rows.map(({ name, setting }) => [name, setting]));
    },
    /** An empty database for `work`, dropped afterwards. */
    async withDatabase(/** @type {(url: string) => Promise<any>} */ work) {
      const name = `bench_${++databases}`;
      await admin.query(`create database ${name}`);
      try {
        const url = new URL(server.url);
        url.pathname = `/${name}`;
        return await work(url.href);
      } finally {
        await admin.query(`drop database if exists ${name} with (force)`);
      }
    },
    /** Stops the server as a crash does and starts it again. Answers when it was down and when it was up. */
    async crash() {
      const { rows } = await admin.query('show data_directory');
      const dataDirectory = rows[0].data_directory;
      const pid = Number((await readFile(join(dataDirectory, 'postmaster.pid'), 'utf8')).split('\n')[0]);
      const [program = '', ...flags] = (await readFile(`/proc/${pid}/cmdline`, 'utf8')).split('\0').slice(0, -1);
      const { uid, gid } = await stat(dataDirectory);
      const downAt = now();
      process.kill(pid, 'SIGQUIT');
      await until(CRASH_DEADLINE_MS, () => !isAlive(pid));
      const options = { cwd: '/', uid, gid, detached: true, stdio: /** @type {const} */ ('ignore') };
      spawn(program, flags, options).unref();
      await until(CRASH_DEADLINE_MS, async () => {
        const fresh = await connect(server.url).catch(() => undefined);
        if (fresh) admin = fresh;
        return fresh !== undefined;
      });
      return { downAt, upAt: now() };
    },
    stop() {
      stopping ??= stop();
      return stopping;
    },
  };
  servers.add(handle);
  return handle;
}

/** Stops every server of this run. */
export async function stopServers() {
  await Promise.all([...servers].map((server) => server.stop()));
}

async function connect(/** @type {string} */ url) {
  const client = new pg.Client({ connectionString: url });
  client.on('error', () => {});
  await client.connect();
  return client;
}

function isAlive(/** @type {number} */ pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

/** A run that was killed outright leaves its server and its directory: the next one clears them away. */
async function removeLeftovers() {
  for (const name of await readdir(tmpdir())) {
    if (!name.startsWith(DIRECTORY_PREFIX)) continue;
    const directory = join(tmpdir(), name);
    const users = await registeredUsers(directory);
    // Without any user it is just being made by another run.
    if (users.total === 0 || users.live > 0) continue;
    await removeEmbeddedPostgres(directory);
    await rm(directory, { recursive: true, force: true });
  }
}

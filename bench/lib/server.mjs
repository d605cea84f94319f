import { chmod, mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { removeEmbeddedPostgres, startEmbeddedPostgres } from '../../dist/demo/embedded-postgres.js';
import { registeredUsers } from '../../dist/demo/postgres-users.js';

const DIRECTORY_PREFIX = 'nmc-bench-';

/** One Postgres for the whole run, durable as in production, in a directory that goes with it. */
export async function startServer() {
  await removeLeftovers();
  const directory = await mkdtemp(join(tmpdir(), DIRECTORY_PREFIX));
  // mkdtemp allows only its owner, and as root the server runs as another user.
  await chmod(directory, 0o755);
  const server = await startEmbeddedPostgres({ dataDir: directory, database: 'postgres', onNotice: () => {} });
  const admin = new pg.Client({ connectionString: server.url });
  admin.on('error', () => {});
  await admin.connect();
  let databases = 0;
  /** @type {Promise<void> | undefined} */
  let stopping;
  const stop = async () => {
    await admin.end().catch(() => {});
    await server.stop();
    await removeEmbeddedPostgres(directory);
    await rm(directory, { recursive: true, force: true });
  };
  return {
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
    stop() {
      stopping ??= stop();
      return stopping;
    },
  };
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

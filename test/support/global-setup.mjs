import { existsSync } from 'node:fs';
import { chmod, mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';

const DIRECTORY_PREFIX = 'nmc-test-';
const TEMPLATE_DATABASE = 'nmc_template';
/** The same number as in database.ts. */
const TEMPLATE_LOCK = 7_166_824;
const MIGRATE = new URL('../../dist/infra/database/migrate.js', import.meta.url);

/** The data is thrown away, so nothing needs to reach the disk; commits stay synchronous, as in production. */
const SETTINGS = { fsync: 'off', full_page_writes: 'off', max_connections: '300' };

/**
 * Runs once before all tests: one Postgres for the whole run, and in it the migrated template database that
 * `cloneDatabase` copies. TEST_POSTGRES_URL names a server to use instead (a superuser's URL to its maintenance
 * database); the workers find the server in the same variable.
 */
export default async function globalSetup() {
  if (process.env.TEST_POSTGRES_URL === undefined) await startServer();
  try {
    await createTemplate(process.env.TEST_POSTGRES_URL);
  } catch (error) {
    await globalThis.stopTestPostgres?.();
    throw error;
  }
}

async function startServer() {
  const { startEmbeddedPostgres, removeEmbeddedPostgres } = await importBuilt('embedded-postgres.js');
  await removeLeftovers();
  const directory = await mkdtemp(join(tmpdir(), DIRECTORY_PREFIX));
  // mkdtemp allows only its owner, and as root the server runs as another user.
  await chmod(directory, 0o755);
  const server = await startEmbeddedPostgres({ dataDir: directory, database: 'postgres', settings: SETTINGS });
  process.env.TEST_POSTGRES_URL = server.url;
  globalThis.stopTestPostgres = async () => {
    globalThis.stopTestPostgres = undefined;
    await server.stop();
    await removeEmbeddedPostgres(directory);
    await rm(directory, { recursive: true, force: true });
  };
  // Jest does not run the global teardown when it is interrupted.
  const exitCodes = { SIGINT: 130, SIGTERM: 143 };
  for (const [signal, code] of Object.entries(exitCodes)) {
    process.once(signal, async () => {
      await globalThis.stopTestPostgres?.();
      process.exit(code);
    });
  }
}

/** A run that was killed outright leaves its server and its directory: the next one clears them away. */
async function removeLeftovers() {
  const { removeEmbeddedPostgres } = await importBuilt('embedded-postgres.js');
  const { registeredUsers } = await importBuilt('postgres-users.js');
  for (const name of await readdir(tmpdir())) {
    if (!name.startsWith(DIRECTORY_PREFIX)) continue;
    const directory = join(tmpdir(), name);
    try {
      const users = await registeredUsers(directory);
      // Without any user it is just being made by another run.
      if (users.total === 0 || users.live > 0) continue;
      await removeEmbeddedPostgres(directory);
      await rm(directory, { recursive: true, force: true });
    } catch (error) {
      // Another run is clearing it away, or it is another user's.
      console.warn(`${directory} of an earlier test run was not removed: ${error.message}`);
    }
  }
}

async function importBuilt(name) {
  const file = new URL(`../../dist/demo/${name}`, import.meta.url);
  if (!existsSync(file)) throw new Error('dist/ is not built, which `npm test` does first: run `npm run build`');
  return await import(file.href);
}

async function createTemplate(adminUrl) {
  const client = new pg.Client({ connectionString: adminUrl, connectionTimeoutMillis: 10_000 });
  client.on('error', () => undefined);
  await client.connect();
  try {
    await client.query("SET lock_timeout = '60s'");
    await client.query('SELECT pg_advisory_lock($1)', [TEMPLATE_LOCK]);
    await client.query(`DROP DATABASE IF EXISTS ${TEMPLATE_DATABASE} WITH (FORCE)`);
    await client.query(`CREATE DATABASE ${TEMPLATE_DATABASE}`);
    if (existsSync(MIGRATE)) {
      const { migrate } = await import(MIGRATE.href);
      const url = new URL(adminUrl);
      url.pathname = `/${TEMPLATE_DATABASE}`;
      await migrate(url.href);
    }
    // A stray connection would make every later copy fail, so nobody may connect any more.
    await client.query(`ALTER DATABASE ${TEMPLATE_DATABASE} ALLOW_CONNECTIONS false`);
    await client.query('SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1', [
      TEMPLATE_DATABASE,
    ]);
  } finally {
    await client.end();
  }
}

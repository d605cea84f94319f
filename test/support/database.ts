import { randomBytes } from 'node:crypto';
import { Client } from 'pg';

/** The database that global setup migrates once; every test database is a copy of it. */
export const TEMPLATE_DATABASE = 'nmc_template';

/** Held on the maintenance database while the template is made or copied; global-setup.mjs takes the same number. */
const TEMPLATE_LOCK = 7_166_824;

/** A database of one test's own. */
export interface TestDatabase {
  /** Connection URL, with password. */
  url: string;
  name: string;
  /** Removes the database and cuts off whoever is still connected to it: close pools first. */
  drop(): Promise<void>;
}

/**
 * Creates a migrated, empty database by copying the template, in well under 100 ms.
 * Call `drop` in `afterEach` or `afterAll`, after everything connected to it was closed.
 */
export async function cloneDatabase(): Promise<TestDatabase> {
  const name = `nmc_test_${randomBytes(8).toString('hex')}`;
  await onMaintenanceDatabase(async (client) => {
    await client.query('SELECT pg_advisory_lock($1)', [TEMPLATE_LOCK]);
    await client.query(`CREATE DATABASE ${name} TEMPLATE ${TEMPLATE_DATABASE}`);
  });
  const url = new URL(maintenanceUrl());
  url.pathname = `/${name}`;
  return {
    url: url.href,
    name,
    drop: () =>
      onMaintenanceDatabase(async (client) => {
        await client.query(`DROP DATABASE IF EXISTS ${name} WITH (FORCE)`);
      }),
  };
}

async function onMaintenanceDatabase(work: (client: Client) => Promise<void>): Promise<void> {
  const client = new Client({ connectionString: maintenanceUrl(), connectionTimeoutMillis: 10_000 });
  client.on('error', () => undefined);
  await client.connect();
  try {
    await client.query("SET lock_timeout = '15s'");
    await work(client);
  } finally {
    await client.end();
  }
}

function maintenanceUrl(): string {
  const url = process.env['TEST_POSTGRES_URL'];
  if (url === undefined) throw new Error('TEST_POSTGRES_URL is not set: test/support/global-setup.mjs did not run');
  return url;
}

import pg from 'pg';
import { DataSource, type DataSourceOptions } from 'typeorm';
import { connectionSettings, dataSourceOptions } from './data-source.js';

/** Any constant will do; it only has to be the same for every replica. */
const MIGRATION_LOCK = 7_236_101;
/** For the lock and for each statement: a migration may rewrite a table, a request may not. */
const MIGRATION_TIMEOUT_MS = 600_000;

/**
 * Brings the database up to date. Replicas that start at once wait for each other on an advisory lock;
 * whoever comes second finds nothing left to do.
 */
export async function migrate(databaseUrl: string): Promise<string[]> {
  const gate = new pg.Client({
    ...connectionSettings(databaseUrl, 'nevermisscall-migrate'),
    statement_timeout: MIGRATION_TIMEOUT_MS,
    query_timeout: MIGRATION_TIMEOUT_MS,
  });
  gate.on('error', () => {});
  await gate.connect();
  try {
    await gate.query('select pg_advisory_lock($1)', [MIGRATION_LOCK]);
    const options = dataSourceOptions({ databaseUrl, poolMax: 2 });
    const patient = { ...options.extra, statement_timeout: MIGRATION_TIMEOUT_MS, query_timeout: MIGRATION_TIMEOUT_MS };
    const dataSource = new DataSource({ ...options, extra: patient } as DataSourceOptions);
    await dataSource.initialize();
    try {
      const applied = await dataSource.runMigrations();
      return applied.map((migration) => migration.name);
    } finally {
      await dataSource.destroy();
    }
  } finally {
    await gate.end();
  }
}

import type pg from 'pg';
import type { DataSource, DataSourceOptions } from 'typeorm';
import { MIGRATIONS } from './migrations/index.js';
import { PooledClient } from './pooled-client.js';

/** No statement may take longer; a stuck one must not hold a webhook past the provider's own limit. */
export const STATEMENT_TIMEOUT_MS = 8_000;
/** How long a request waits for a pooled connection before it fails honestly. */
export const CONNECTION_TIMEOUT_MS = 3_000;

/** Start-up parameters of a session; a pooler refuses them, and has to give its sessions such limits itself. */
const SESSION_LIMITS = { statement_timeout: STATEMENT_TIMEOUT_MS, idle_in_transaction_session_timeout: 30_000 };

/** Connection settings shared by the pool, the dispatcher and the listener. */
export function connectionSettings(databaseUrl: string, applicationName: string, { isPooled = false } = {}) {
  return {
    connectionString: databaseUrl,
    Client: PooledClient,
    application_name: applicationName,
    connectionTimeoutMillis: CONNECTION_TIMEOUT_MS,
    ...(!isPooled && SESSION_LIMITS),
    // The client's own deadline, for a server that no longer answers at all.
    query_timeout: STATEMENT_TIMEOUT_MS + 2_000,
    keepAlive: true,
    keepAliveInitialDelayMillis: 5_000,
  };
}

export interface PoolSettings {
  databaseUrl: string;
  poolMax: number;
  /** The URL is a pooler's. */
  isPooled?: boolean;
}

export function dataSourceOptions({ databaseUrl, poolMax, isPooled }: PoolSettings): DataSourceOptions {
  return {
    type: 'postgres',
    url: databaseUrl,
    poolSize: poolMax,
    // Pipeline: statements that nobody waits for in between share a round trip.
    extra: { ...connectionSettings(databaseUrl, 'nevermisscall', { isPooled }), pipeline: true },
    migrations: MIGRATIONS,
    migrationsTableName: 'schema_migrations',
    migrationsTransactionMode: 'each',
    synchronize: false,
    // TypeORM's own logger prints parameters.
    logging: false,
  };
}

/** The pg pool beneath: the library has no public way to it. */
export function poolOf(dataSource: DataSource): pg.Pool {
  return (dataSource.driver as unknown as { master: pg.Pool }).master;
}

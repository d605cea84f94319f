import pg from 'pg';
import type { DataSourceOptions } from 'typeorm';
import { MIGRATIONS } from './migrations/index.js';

/** No statement may take longer; a stuck one must not hold a webhook past the provider's own limit. */
export const STATEMENT_TIMEOUT_MS = 8_000;
/** How long a request waits for a pooled connection before it fails honestly. */
export const CONNECTION_TIMEOUT_MS = 3_000;

/**
 * Survives being ended between the pool's handing it out and its user's coming to it, which happens when the server says
 * "ready" and "goodbye" in one breath. An `error` that nobody listens to ends the process; the user's query fails anyway.
 */
class PooledClient extends pg.Client {
  constructor(settings?: string | pg.ClientConfig) {
    super(settings);
    this.on('error', () => {});
  }
}

/** Connection settings shared by the pool, the dispatcher and the listener. */
export function connectionSettings(databaseUrl: string, applicationName: string) {
  return {
    connectionString: databaseUrl,
    Client: PooledClient,
    application_name: applicationName,
    connectionTimeoutMillis: CONNECTION_TIMEOUT_MS,
    statement_timeout: STATEMENT_TIMEOUT_MS,
    // The client's own deadline, for a server that no longer answers at all.
    query_timeout: STATEMENT_TIMEOUT_MS + 2_000,
    idle_in_transaction_session_timeout: 30_000,
    keepAlive: true,
    keepAliveInitialDelayMillis: 5_000,
  };
}

export function dataSourceOptions(settings: { databaseUrl: string; poolMax: number }): DataSourceOptions {
  return {
    type: 'postgres',
    url: settings.databaseUrl,
    poolSize: settings.poolMax,
    // Pipeline: statements that nobody waits for in between share a round trip.
    extra: { ...connectionSettings(settings.databaseUrl, 'nevermisscall'), pipeline: true },
    migrations: MIGRATIONS,
    migrationsTableName: 'schema_migrations',
    migrationsTransactionMode: 'each',
    synchronize: false,
    // TypeORM's own logger prints parameters.
    logging: false,
  };
}

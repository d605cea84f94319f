import pg from 'pg';
import { ConfigError } from '../config/config.js';
import { connectionSettings, STATEMENT_TIMEOUT_MS } from './data-source.js';

/**
 * Sees that statements have a limit behind a pooler, which takes none from us.
 * @throws ConfigError when its sessions have no `statement_timeout`
 */
export async function checkPooler(databaseUrl: string): Promise<void> {
  const client = new pg.Client(connectionSettings(databaseUrl, 'nevermisscall', { isPooled: true }));
  client.on('error', () => {});
  await client.connect();
  try {
    const { rows } = await client.query<{ is_limited: boolean }>(
      "select current_setting('statement_timeout') <> '0' as is_limited",
    );
    if (rows[0]?.is_limited) return;
    throw new ConfigError([
      `DATABASE_URL: its pooler must give sessions a statement_timeout, by connect_query = 'set statement_timeout = ${STATEMENT_TIMEOUT_MS}'`,
    ]);
  } finally {
    await client.end();
  }
}

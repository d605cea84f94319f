import { ConfigError } from './infra/config/config.js';
import { migrate } from './infra/database/migrate.js';
import { Shutdown } from './infra/health/shutdown.js';

const shutdown = new Shutdown();

async function main(): Promise<void> {
  shutdown.onSignal(130);
  const production = process.env['NODE_ENV'] === 'production';
  const development = production ? undefined : await import('./demo/development.js');
  const database = await shutdown.start(
    async () => development?.provideDatabase(process.env),
    (started) => started?.stop(),
  );
  const url = process.env['DATABASE_DIRECT_URL'] || process.env['DATABASE_URL'] || database?.url;
  if (!url) throw new ConfigError(['DATABASE_URL: is required']);
  const applied = await migrate(url);
  process.stdout.write(applied.length > 0 ? `applied ${applied.join(', ')}\n` : 'the database is up to date\n');
  await shutdown.exit(0);
}

main().catch((error: unknown) => {
  if (shutdown.begun) return;
  process.stderr.write(`${error instanceof Error ? error.message || error.stack : String(error)}\n`);
  return shutdown.exit(1);
});

import { ConfigError } from './infra/config/config.js';
import { migrate } from './infra/database/migrate.js';

async function main(): Promise<void> {
  const production = process.env['NODE_ENV'] === 'production';
  const development = production ? undefined : await import('./demo/development.js');
  const database = await development?.provideDatabase(process.env);
  const url = process.env['DATABASE_URL'] || database?.url;
  if (!url) throw new ConfigError(['DATABASE_URL: is required']);
  const applied = await migrate(url);
  process.stdout.write(applied.length > 0 ? `applied ${applied.join(', ')}\n` : 'the database is up to date\n');
  await database?.stop();
}

main().catch((error: unknown) => {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
  process.exit(1);
});

import 'reflect-metadata';
import { createApp } from './app.factory.js';
import { Config, ConfigError, loadConfig } from './infra/config/config.js';
import { Lifecycle } from './infra/health/lifecycle.service.js';

/** How long a stop may take before the process ends regardless; longer than the dispatcher's own grace. */
const STOP_DEADLINE_MS = 25_000;

async function main(): Promise<void> {
  const development = process.env['NODE_ENV'] === 'production' ? undefined : await import('./demo/development.js');
  const surroundings = await development?.provideDevelopment(process.env);
  const config = loadConfig({ ...process.env, ...surroundings?.env });
  const app = await createApp(config);

  const stop = async (signal: string) => {
    // Readiness first: whoever balances the load stops sending before anything ends.
    app.get(Lifecycle).beginShutdown();
    setTimeout(() => process.exit(1), STOP_DEADLINE_MS).unref();
    await app.close();
    await surroundings?.stop();
    process.exit(signal === 'SIGINT' || signal === 'SIGTERM' ? 0 : 1);
  };
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => void stop(signal));

  try {
    await app.listen({ host: config.env.HOST, port: config.env.PORT });
  } catch (error) {
    await app.close();
    await surroundings?.stop();
    throw portTaken(error, config) ?? error;
  }
}

function portTaken(error: unknown, config: Config): Error | undefined {
  if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE') return undefined;
  return new ConfigError([
    `PORT: ${config.env.PORT} is taken by another program; stop it, or choose another, e.g. PORT=${config.env.PORT + 1}`,
  ]);
}

main().catch((error: unknown) => {
  const text = error instanceof ConfigError ? error.message : error instanceof Error ? error.stack : String(error);
  process.stderr.write(`${text}\n`);
  process.exit(1);
});

import 'reflect-metadata';
import { createApp } from './app.factory.js';
import { createLogger } from './common/logging/logger.js';
import { redactText } from './common/logging/redactor.js';
import { flushTraces } from './common/tracing/kept-traces.js';
import { type Config, ConfigError, loadConfig } from './infra/config/config.js';
import { Lifecycle } from './infra/health/lifecycle.service.js';
import { Shutdown } from './infra/health/shutdown.js';

const shutdown = new Shutdown();

// What nobody caught ends the process at once, as by Node's default, but passes the redactor on its way to the log.
process.on('uncaughtException', (error) => {
  createLogger({ level: 'fatal' }).fatal({ err: error }, 'uncaught exception');
  process.exit(1);
});

async function main(): Promise<void> {
  shutdown.onSignal(0);
  await shutdown.start(async () => undefined, flushTraces);
  const development = process.env['NODE_ENV'] === 'production' ? undefined : await import('./demo/development.js');
  const surroundings = development
    ? await shutdown.start(
        () => development.provideDevelopment(process.env),
        (started) => started.stop(),
      )
    : undefined;
  const config = loadConfig({ ...process.env, ...surroundings?.env });
  const app = await shutdown.start(
    () => createApp(config),
    (started) => {
      // Readiness first: whoever balances the load stops sending before anything ends.
      started.get(Lifecycle).beginShutdown();
      return started.close();
    },
  );
  try {
    await app.listen({ host: config.env.HOST, port: config.env.PORT });
  } catch (error) {
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
  if (shutdown.begun) return;
  const text = error instanceof ConfigError ? error.message : error instanceof Error ? error.stack : String(error);
  process.stderr.write(`${redactText(text ?? '')}\n`);
  return shutdown.exit(1);
});

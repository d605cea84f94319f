import { NestFactory } from '@nestjs/core';
import { FastifyAdapter, type NestFastifyApplication } from '@nestjs/platform-fastify';
import { Logger } from 'nestjs-pino';
import type { DestinationStream } from 'pino';
import { AppModule } from './app.module.js';
import { interceptHttpEdge } from './common/interceptors/http-edge.interceptor.js';
import { type AppLogger, createLogger } from './common/logging/logger.js';
import { removeUnmaskedLeftovers, UnmaskedCopy } from './common/logging/unmasked-copy.js';
import { metrics } from './common/metrics/metrics.js';
import { type Config, ConfigError } from './infra/config/config.js';
import { migrate } from './infra/database/migrate.js';
import { checkPooler } from './infra/database/pooler.js';

/** Larger than any webhook of any provider; a larger body is answered 413 unread. */
const BODY_LIMIT_BYTES = 64 * 1024;

/** Brings the database up to date and builds the application; it does not listen yet. */
export async function createApp(config: Config, destination?: DestinationStream): Promise<NestFastifyApplication> {
  const appLogger = createAppLogger(config, destination);
  await migrate(config.directDatabaseUrl);
  if (config.isPooled) await checkPooler(config.env.DATABASE_URL);
  const adapter = new FastifyAdapter({ bodyLimit: BODY_LIMIT_BYTES });
  interceptHttpEdge(adapter.getInstance(), appLogger);
  const app = await NestFactory.create<NestFastifyApplication>(AppModule.forRoot(config, appLogger), adapter, {
    bufferLogs: true,
    rawBody: true,
    abortOnError: false,
  });
  app.useLogger(app.get(Logger));
  return app;
}

/**
 * The logger that the configuration asks for.
 * @throws ConfigError when an unmasked copy was asked for and cannot be written
 */
function createAppLogger({ env }: Config, destination?: DestinationStream): AppLogger {
  const { LOG_LEVEL: level, LOG_BODY_PREVIEW: bodyPreview, LOG_UNMASKED_UNTIL: until } = env;
  removeUnmaskedLeftovers(env.DATA_DIR);
  metrics.set('log_unmasked_active', 0);
  let logger: AppLogger | undefined;
  const onEnd = () => logger?.warn('the log is not written unmasked any more, and the file is gone');
  const wanted = until !== undefined && until.getTime() > Date.now();
  const unmasked = wanted ? openUnmaskedCopy({ directory: env.DATA_DIR, until, onEnd }) : undefined;
  logger = createLogger({ level, bodyPreview, unmasked }, destination);
  if (unmasked) logger.warn({ file: unmasked.file, until }, 'the log is also written unmasked, to a file that expires');
  else if (until) logger.warn({ until }, 'the time of LOG_UNMASKED_UNTIL is over: nothing is written unmasked');
  return logger;
}

function openUnmaskedCopy(options: ConstructorParameters<typeof UnmaskedCopy>[0]): UnmaskedCopy {
  try {
    return new UnmaskedCopy(options);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? 'unknown';
    throw new ConfigError([`LOG_UNMASKED_UNTIL: needs a DATA_DIR that can be written (${code})`]);
  }
}

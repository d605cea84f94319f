import { NestFactory } from '@nestjs/core';
import { FastifyAdapter, type NestFastifyApplication } from '@nestjs/platform-fastify';
import { Logger } from 'nestjs-pino';
import { AppModule } from './app.module.js';
import { interceptHttpEdge } from './common/interceptors/http-edge.interceptor.js';
import { type AppLogger, createLogger } from './common/logging/logger.js';
import type { Config } from './infra/config/config.js';
import { migrate } from './infra/database/migrate.js';

/** Larger than any webhook of any provider; a larger body is answered 413 unread. */
const BODY_LIMIT_BYTES = 64 * 1024;

/** Brings the database up to date and builds the application; it does not listen yet. */
export async function createApp(config: Config, logger?: AppLogger): Promise<NestFastifyApplication> {
  const appLogger = logger ?? createLogger({ level: config.env.LOG_LEVEL });
  await migrate(config.env.DATABASE_URL);
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

import 'reflect-metadata';
import { Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { LoggerModule } from 'nestjs-pino';
import { z } from 'zod';
import { createLogger } from '../../dist/common/logging/logger.js';
import { loadConfig } from '../../dist/infra/config/config.js';
import { Database } from '../../dist/infra/database/database.js';
import { migrate } from '../../dist/infra/database/migrate.js';
import { InfraModule } from '../../dist/infra/infra.module.js';
import { defineEvent } from '../../dist/infra/outbox/event.js';
import { OnOutboxEvent } from '../../dist/infra/outbox/on-outbox-event.decorator.js';
import { Outbox } from '../../dist/infra/outbox/outbox.service.js';

const Measured = defineEvent({
  name: 'nmc.telephony.CallDetected',
  version: '1.0.0',
  description: 'An event of the benchmarks.',
  schema: z.object({ n: z.number() }),
});
const SUBSCRIBER = 'telephony.bench';

class Subscriber {
  /** @param {import('./contender.mjs').OnStart} onStart */
  constructor(onStart) {
    this.onStart = onStart;
  }

  async handle(event) {
    await this.onStart(event.payload.n);
  }
}
const handle = Object.getOwnPropertyDescriptor(Subscriber.prototype, 'handle') ?? {};
OnOutboxEvent(Measured, { name: SUBSCRIBER })(Subscriber.prototype, 'handle', handle);
Object.defineProperty(Subscriber.prototype, 'handle', handle);

class SubscriberModule {}
Module({})(SubscriberModule);

class Root {}

/** What production insists on; nothing here is called. */
const PRODUCTION = {
  NODE_ENV: 'production',
  PUBLIC_BASE_URL: 'https://bench.invalid',
  OPS_USERNAME: 'bench',
  OPS_PASSWORD: 'not-a-secret-ops',
  METRICS_USERNAME: 'bench',
  METRICS_PASSWORD: 'not-a-secret-metrics',
  TWILIO_ACCOUNT_SID: `AC${'0'.repeat(32)}`,
  TWILIO_AUTH_TOKEN: 'unused',
};

/** Job n belongs to tenant n modulo this number, and to a lane of its own, as if to a conversation. */
const TENANTS = 100;
const tenantOf = (/** @type {number} */ n) => `00000000-0000-4000-8000-${String(n % TENANTS).padStart(12, '0')}`;

/**
 * The product's own outbox and dispatcher, built, in a Nest application context: lanes, fences, a delivery for each
 * subscriber, fair shares, schema checks, deadlines, metrics and logs as they run in production.
 * @type {import('./contender.mjs').Contender}
 */
export const contender = {
  async install(url, settings) {
    await migrate(url);
    // The worker's first start makes the day's partitions. Its log level is that of all later ones in this process.
    await (await this.start(url, settings, () => {})).stop();
  },

  async seed(client, count, settings) {
    await client.query(
      `with given as (
         select uuidv7() as event_id, n,
           format('00000000-0000-4000-8000-%s', lpad((n % $2::int)::text, 12, '0'))::uuid as tenant_id
         from generate_series(0, $1::int - 1) n
       ), events as (
         insert into infra.outbox_events (event_id, event_name, schema_version, tenant_id, occurred_at, correlation_id,
           ordering_key, payload)
         select event_id, $3, '1.0.0', tenant_id, now(), gen_random_uuid(), 'lane-' || n, jsonb_build_object('n', n)
         from given
       )
       insert into infra.outbox_deliveries (event_id, event_name, subscriber, tenant_id, ordering_key, due_at, available_at)
       select event_id, $3, $4, tenant_id, 'lane-' || n, now(), now() from given order by n`,
      [count, settings.tenants ?? TENANTS, Measured.name, SUBSCRIBER],
    );
  },

  pending: 'select exists (select 1 from infra.outbox_deliveries) as pending',

  async start(url, { env = {} }, onStart) {
    const config = loadConfig({ ...PRODUCTION, ...env, DATABASE_URL: url });
    const logger = createLogger({ level: config.env.LOG_LEVEL });
    const root = {
      module: Root,
      imports: [
        LoggerModule.forRoot({ pinoHttp: { logger, autoLogging: false }, forRoutes: [] }),
        InfraModule.forRoot(config),
        { module: SubscriberModule, providers: [{ provide: Subscriber, useValue: new Subscriber(onStart) }] },
      ],
    };
    const context = await NestFactory.createApplicationContext(root, { logger: false, abortOnError: false });
    const [database, outbox] = [context.get(Database), context.get(Outbox)];
    return {
      enqueue: (n) =>
        database.transaction((tx) =>
          outbox.publish(tx, Measured, { tenantId: tenantOf(n), orderingKey: `lane-${n}`, payload: { n } }),
        ),
      stop: () => context.close(),
    };
  },
};

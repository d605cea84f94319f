import 'reflect-metadata';
import { createRequire } from 'node:module';
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
import { NOTIFY, OutboxNotifier } from '../../dist/infra/outbox/outbox-session.js';

/** The product's own copy of the driver, not the one of these benchmarks. */
const pg = createRequire(new URL('../../dist/main.js', import.meta.url))('pg');

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

/** Job n belongs to tenant n modulo this number, and unless told to a lane of its own, as if to a conversation. */
const TENANTS = 100;
const tenantOf = (/** @type {number} */ n) => `00000000-0000-4000-8000-${String(n % TENANTS).padStart(12, '0')}`;

/** Lanes are as new as the jobs: each time others. */
let seeds = 0;

/** As the product's, in the order of time: Postgres makes such ids itself from version 18 on only. */
const EVENT_ID = `(lpad(to_hex((extract(epoch from clock_timestamp()) * 1000)::bigint), 12, '0')
  || substr(replace(gen_random_uuid()::text, '-', ''), 13))::uuid`;

/**
 * The product's own outbox and dispatcher, built, in a Nest application context: lanes, fences, a delivery for each
 * subscriber, fair shares, schema checks, deadlines, metrics and logs as they run in production.
 * @type {import('./contender.mjs').Contender}
 */
export const contender = {
  pg,

  async install(url, settings) {
    await migrate(url);
    await withClient(url, (client) => client.query('create table public.business (n bigint)'));
    // The worker's first start makes the day's partitions. Its log level is that of all later ones in this process.
    await (await this.start(url, settings, () => {})).stop();
  },

  async seed(client, count, settings) {
    await client.query(
      `with given as (
         select ${EVENT_ID} as event_id, gen_random_uuid() as correlation_id, jsonb_build_object('n', n) as payload, n,
           $6 || '-' || n / $5::int as ordering_key,
           format('00000000-0000-4000-8000-%s', lpad((n % $2::int)::text, 12, '0'))::uuid as tenant_id
         from generate_series(0, $1::int - 1) n
       ), events as (
         insert into infra.outbox_events (event_id, event_name, schema_version, tenant_id, occurred_at, correlation_id,
           ordering_key, payload)
         select event_id, $3, '1.0.0', tenant_id, now(), correlation_id, ordering_key, payload from given
       )
       insert into infra.outbox_deliveries (event_id, event_name, subscriber, tenant_id, ordering_key, lane,
         due_at, available_at, envelope)
       select event_id, $3, $4, tenant_id, ordering_key, infra.outbox_lane($4, ordering_key), now(), now(),
         infra.outbox_envelope('1.0.0', now(), correlation_id, null, null, payload)
       from given order by n`,
      [count, settings.tenants ?? TENANTS, Measured.name, SUBSCRIBER, settings.perLane ?? 1, `seed-${++seeds}`],
    );
  },

  pending: 'select exists (select 1 from infra.outbox_deliveries) as pending',

  left: 'select count(*)::int as left from infra.outbox_deliveries',

  wake: NOTIFY,

  /** All of them of today, as if the day had begun with them: the event log and the history that a claim has behind it. */
  async grow(client, count) {
    await client.query(
      `with given as materialized (select ${EVENT_ID} as event_id, n from generate_series(1, $1::int) n), events as (
         insert into infra.outbox_events (event_id, event_name, schema_version, tenant_id, occurred_at, correlation_id,
           ordering_key, payload)
         select event_id, $2, '1.0.0', gen_random_uuid(), now(), event_id, 'lane-' || n, jsonb_build_object('n', n) from given
       )
       insert into infra.outbox_history (delivery_id, event_id, subscriber, tenant_id, attempts, created_at, completed_at)
       select n, event_id, $3, gen_random_uuid(), 1, now(), now() from given`,
      [count, Measured.name, SUBSCRIBER],
    );
  },

  producer(url, settings) {
    return this.start(url, { ...settings, env: { ...settings.env, ROLE: 'web' } }, () => {});
  },

  async start(url, { env = {}, withBusiness = false }, onStart) {
    const context = await boot(url, env, onStart);
    const [database, outbox] = [context.get(Database), context.get(Outbox)];
    return {
      enqueue: (n) =>
        database.transaction(async (tx) => {
          if (withBusiness) await tx.query('insert into public.business values ($1)', [n]);
          outbox.publish(tx, Measured, { tenantId: tenantOf(n), orderingKey: `lane-${n}`, payload: { n } });
        }),
      stop: () => context.close(),
    };
  },
};

/** @typedef {'none' | 'debounced' | 'each'} WakeUps never, as the product does, or in every transaction */

/**
 * A process that publishes and works nothing off, whose wake-ups of other processes can be chosen.
 * @returns {Promise<{ publish: (n: number, wakeUps: WakeUps) => Promise<unknown>, stop: () => Promise<void> }>}
 */
export async function startPublisher(/** @type {string} */ url, /** @type {Record<string, string>} */ env) {
  const context = await boot(url, { ...env, ROLE: 'web' }, () => {});
  const [database, outbox] = [context.get(Database), context.get(Outbox)];
  const { notify, takeTurn } = OutboxNotifier.prototype;
  return {
    publish(n, wakeUps) {
      Object.assign(OutboxNotifier.prototype, wakeUps === 'debounced' ? { notify, takeTurn } : NO_WAKE_UPS);
      return database.transaction(async (tx) => {
        await outbox.publish(tx, Measured, { tenantId: tenantOf(n), orderingKey: `lane-${n}`, payload: { n } });
        if (wakeUps === 'each') await tx.query(NOTIFY);
      });
    },
    stop: () => context.close(),
  };
}

const NO_WAKE_UPS = { notify: () => {}, takeTurn: () => false };

async function withClient(/** @type {string} */ url, /** @type {(client: any) => Promise<unknown>} */ work) {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  await work(client).finally(() => client.end());
}

function boot(/** @type {string} */ url, env, onStart) {
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
  return NestFactory.createApplicationContext(root, { logger: false, abortOnError: false });
}

import { type DynamicModule, Global, Module } from '@nestjs/common';
import { ScheduleModule } from '@nestjs/schedule';
import { TerminusModule } from '@nestjs/terminus';
import { TypeOrmModule } from '@nestjs/typeorm';
import { AuditLog } from './audit/audit-log.service.js';
import { Config } from './config/config.js';
import { dataSourceOptions } from './database/data-source.js';
import { DatabaseCron } from './database/database.cron.js';
import { Database } from './database/database.js';
import { SnapshotsCron } from './database/snapshots.cron.js';
import { GateLimits } from './gates/provider-gate.policy.js';
import { ProviderGates } from './gates/provider-gates.service.js';
import { HealthController } from './health/health.controller.js';
import { Lifecycle } from './health/lifecycle.service.js';
import { ProviderHttp } from './http/provider-http.client.js';
import { MetricsModule } from './metrics/metrics.module.js';
import { OutboxModule } from './outbox/outbox.module.js';
import { Tenant } from './tenancy/tenant.entity.js';
import { Tenants } from './tenancy/tenants.service.js';
import { TracePromotion } from './tracing/trace-promotion.service.js';

/** Postgres, outbox, cron, health, metrics, tenancy: everything that knows no business. */
@Global()
@Module({})
export class InfraModule {
  static forRoot(config: Config): DynamicModule {
    const { DATABASE_URL, DB_POOL_MAX } = config.env;
    return {
      module: InfraModule,
      imports: [
        TypeOrmModule.forRoot({
          ...dataSourceOptions({ databaseUrl: DATABASE_URL, poolMax: DB_POOL_MAX, isPooled: config.isPooled }),
          autoLoadEntities: true,
          retryAttempts: 10,
          retryDelay: 1_000,
        }),
        TypeOrmModule.forFeature([Tenant]),
        ScheduleModule.forRoot(),
        TerminusModule.forRoot({ logger: false }),
        MetricsModule,
        OutboxModule,
      ],
      controllers: [HealthController],
      providers: [
        { provide: Config, useValue: config },
        AuditLog,
        Database,
        DatabaseCron,
        GateLimits,
        Lifecycle,
        ProviderGates,
        ProviderHttp,
        SnapshotsCron,
        Tenants,
        TracePromotion,
      ],
      exports: [AuditLog, Config, Database, Lifecycle, ProviderGates, ProviderHttp, Tenants],
    };
  }
}

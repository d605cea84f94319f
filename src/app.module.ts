import { type DynamicModule, Module } from '@nestjs/common';
import { APP_FILTER } from '@nestjs/core';
import { LoggerModule } from 'nestjs-pino';
import { ProblemFilter } from './common/errors/problem.filter.js';
import type { AppLogger } from './common/logging/logger.js';
import { ComplianceModule } from './compliance/compliance.module.js';
import { ConversationModule } from './conversation/conversation.module.js';
import type { Config } from './infra/config/config.js';
import { InfraModule } from './infra/infra.module.js';
import { OpsModule } from './ops/ops.module.js';
import { ReportingModule } from './reporting/reporting.module.js';
import { TelephonyModule } from './telephony/telephony.module.js';

/** The only composition of the contexts. Every role loads all of them; `ROLE` says which loops run. */
@Module({})
export class AppModule {
  static forRoot(config: Config, logger: AppLogger): DynamicModule {
    return {
      module: AppModule,
      imports: [
        // The HTTP edge writes its own access line; pino-http's middleware would only cost.
        LoggerModule.forRoot({ pinoHttp: { logger, autoLogging: false }, forRoutes: [] }),
        InfraModule.forRoot(config),
        ComplianceModule,
        TelephonyModule,
        ConversationModule,
        ReportingModule,
        OpsModule,
      ],
      providers: [{ provide: APP_FILTER, useClass: ProblemFilter }],
    };
  }
}

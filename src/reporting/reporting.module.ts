import { Module } from '@nestjs/common';
import { KpiSubscriber } from './business-metrics/kpi.subscriber.js';
import { MessageSubscriber } from './business-metrics/message.subscriber.js';
import { OptOutSubscriber } from './business-metrics/opt-out.subscriber.js';
import { SuppressionSubscriber } from './business-metrics/suppression.subscriber.js';
import { ReportingApi } from './contracts/reporting.api.js';
import { FirstResponseSubscriber } from './first-responses/first-response.subscriber.js';
import { FirstResponses } from './first-responses/first-responses.service.js';
import { LedgerCron } from './ledger/ledger.cron.js';
import { Ledger } from './ledger/ledger.service.js';
import { BookingSamples } from './slo/booking-samples.service.js';
import { SloCron } from './slo/slo.cron.js';

@Module({
  providers: [
    BookingSamples,
    FirstResponseSubscriber,
    MessageSubscriber,
    OptOutSubscriber,
    KpiSubscriber,
    Ledger,
    LedgerCron,
    SloCron,
    SuppressionSubscriber,
    { provide: ReportingApi, useClass: FirstResponses },
  ],
  exports: [ReportingApi],
})
export class ReportingModule {}

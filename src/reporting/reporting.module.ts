import { Module } from '@nestjs/common';
import { SuppressionSubscriber } from './business-metrics/suppression.subscriber.js';
import { ReportingApi } from './contracts/reporting.api.js';
import { FirstResponseSubscriber } from './first-responses/first-response.subscriber.js';
import { FirstResponses } from './first-responses/first-responses.service.js';
import { SloCron } from './slo/slo.cron.js';

@Module({
  providers: [
    FirstResponseSubscriber,
    SloCron,
    SuppressionSubscriber,
    { provide: ReportingApi, useClass: FirstResponses },
  ],
  exports: [ReportingApi],
})
export class ReportingModule {}

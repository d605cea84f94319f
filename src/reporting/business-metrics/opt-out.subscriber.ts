import { Injectable } from '@nestjs/common';
import { metrics } from '../../common/metrics/metrics.js';
import { OptOutRecorded } from '../../compliance/contracts/consent.event.js';
import { OnOutboxEvent } from '../../infra/outbox/on-outbox-event.decorator.js';

/** Counts who asked us to stop. */
@Injectable()
export class OptOutSubscriber {
  @OnOutboxEvent(OptOutRecorded, { name: 'reporting.count_opt_outs' })
  async onOptOut(): Promise<void> {
    metrics.increment('compliance_opt_outs_total');
  }
}

import { Injectable } from '@nestjs/common';
import type { LabelsOf } from '../../common/metrics/catalogue.js';
import { metrics } from '../../common/metrics/metrics.js';
import type { EventOf } from '../../infra/outbox/event.js';
import { OnOutboxEvent } from '../../infra/outbox/on-outbox-event.decorator.js';
import { CallReplySuppressed } from '../../telephony/contracts/calls.event.js';

type Reason = LabelsOf<'telephony_replies_suppressed_total'>['reason'];

/** Counts what happened, so that the domain does not have to. */
@Injectable()
export class SuppressionSubscriber {
  @OnOutboxEvent(CallReplySuppressed, { name: 'reporting.count_suppressed' })
  async onSuppressed(event: EventOf<typeof CallReplySuppressed>): Promise<void> {
    metrics.increment('telephony_replies_suppressed_total', { reason: event.payload.reason as Reason });
  }
}

import { Injectable } from '@nestjs/common';
import type { z } from 'zod';
import type { LabelsOf } from '../../common/metrics/catalogue.js';
import { metrics } from '../../common/metrics/metrics.js';
import type { OutboxEvent } from '../../infra/outbox/event.js';
import { OnOutboxEvent } from '../../infra/outbox/on-outbox-event.decorator.js';
import { CallReplySuppressed } from '../../telephony/contracts/calls.event.js';

type Reason = LabelsOf<'telephony_replies_suppressed_total'>['reason'];

/** Counts what happened, so that the domain does not have to. */
@Injectable()
export class SuppressionSubscriber {
  @OnOutboxEvent(CallReplySuppressed, { name: 'reporting.count_suppressed' })
  async onSuppressed(event: OutboxEvent<z.output<(typeof CallReplySuppressed)['schema']>>): Promise<void> {
    metrics.increment('telephony_replies_suppressed_total', { reason: event.payload.reason as Reason });
  }
}

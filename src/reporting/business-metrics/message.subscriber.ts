import { Injectable } from '@nestjs/common';
import { metrics } from '../../common/metrics/metrics.js';
import type { EventOf } from '../../infra/outbox/event.js';
import { OnOutboxEvent } from '../../infra/outbox/on-outbox-event.decorator.js';
import { DeliveryUpdated, OutboundSmsFailed, OutboundSmsQueued } from '../../telephony/contracts/messages.event.js';
import { failureCode, isLost, messageStatus } from './message-labels.policy.js';

const NAME = 'reporting.count_messages';

/** The funnel of outbound texts: accepted, on their way, there or lost. */
@Injectable()
export class MessageSubscriber {
  /** Whatever the provider calls its acceptance, the text is queued. */
  @OnOutboxEvent(OutboundSmsQueued, { name: NAME })
  async onAccepted(): Promise<void> {
    metrics.increment('twilio_messages_total', { status: 'queued' });
  }

  @OnOutboxEvent(OutboundSmsFailed, { name: NAME })
  async onRefused({ payload }: EventOf<typeof OutboundSmsFailed>): Promise<void> {
    metrics.increment('twilio_messages_total', { status: 'failed' });
    metrics.increment('twilio_message_failures_total', { error_code: failureCode(payload.error_code) });
  }

  @OnOutboxEvent(DeliveryUpdated, { name: NAME })
  async onDelivery({ payload }: EventOf<typeof DeliveryUpdated>): Promise<void> {
    // A provider that accepts first and queues later would be counted twice.
    if (payload.state === 'queued' || payload.state === 'accepted') return;
    metrics.increment('twilio_messages_total', { status: messageStatus(payload.state) });
    if (isLost(payload.state)) {
      metrics.increment('twilio_message_failures_total', { error_code: failureCode(payload.error_code) });
    }
  }
}

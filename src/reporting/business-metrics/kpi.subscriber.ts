import { Injectable } from '@nestjs/common';
import { ConversationStarted } from '../../conversation/contracts/threads.event.js';
import { Database } from '../../infra/database/database.js';
import { consumeOnce } from '../../infra/outbox/consume-once.js';
import type { EventOf, OutboxEvent } from '../../infra/outbox/event.js';
import { OnOutboxEvent } from '../../infra/outbox/on-outbox-event.decorator.js';
import { CallDetected } from '../../telephony/contracts/calls.event.js';
import { Ledger } from '../ledger/ledger.service.js';

const NAME = 'reporting.kpi_ledger';

/** The business's own numbers: each event counted once, however often it is delivered. */
@Injectable()
export class KpiSubscriber {
  constructor(
    private readonly database: Database,
    private readonly ledger: Ledger,
  ) {}

  @OnOutboxEvent(CallDetected, { name: NAME })
  onCall(event: EventOf<typeof CallDetected>): Promise<void> {
    return this.count(event, 'kpi_calls_detected_total');
  }

  @OnOutboxEvent(ConversationStarted, { name: NAME })
  onConversation(event: EventOf<typeof ConversationStarted>): Promise<void> {
    return this.count(event, 'kpi_conversations_started_total');
  }

  private count(
    { eventId }: OutboxEvent,
    metric: 'kpi_calls_detected_total' | 'kpi_conversations_started_total',
  ): Promise<void> {
    return this.database.transaction(async (tx) => {
      if (await consumeOnce(tx, NAME, eventId)) await this.ledger.add(tx, metric, 1);
    });
  }
}

import { Injectable } from '@nestjs/common';
import { Database, type Transaction } from '../../infra/database/database.js';
import { consumeOnce } from '../../infra/outbox/consume-once.js';
import type { EventOf, OutboxEvent } from '../../infra/outbox/event.js';
import { OnOutboxEvent } from '../../infra/outbox/on-outbox-event.decorator.js';
import { Tenants } from '../../infra/tenancy/tenants.service.js';
import {
  CallDetected,
  CallReplyDeferred,
  CallReplySuppressed,
  type MissedCall,
} from '../../telephony/contracts/calls.event.js';
import { InboundSmsReceived } from '../../telephony/contracts/messages.event.js';
import { TelephonyApi, type TextRequest } from '../../telephony/contracts/telephony.api.js';
import { TEMPLATE } from '../threads/threads.queries.js';
import { type Contact, Threads } from '../threads/threads.service.js';
import { renderFirstReply } from './first-reply.policy.js';

/** Only a reply asks the provider for anything. */
function gateOfReply(event: { decision: string; sending_gate?: string }): string | undefined {
  return event.decision === 'reply' ? event.sending_gate : undefined;
}

/** Answers a missed call, or a text that opens a conversation: at once, from the tenant's template, once. */
@Injectable()
export class FirstReplySubscriber {
  constructor(
    private readonly database: Database,
    private readonly threads: Threads,
    private readonly tenants: Tenants,
    private readonly telephony: TelephonyApi,
  ) {}

  @OnOutboxEvent(CallDetected, { name: 'conversation.first_reply', retryBaseMs: 250, gate: gateOfReply })
  async onMissedCall(event: EventOf<typeof CallDetected>): Promise<void> {
    if (event.payload.decision === 'reply')
      await this.answerCall(event, new Date(event.payload.missed_at), event.occurredAt);
  }

  @OnOutboxEvent(CallReplyDeferred, {
    name: 'conversation.first_reply',
    dueAt: (payload) => new Date(payload.deferred_until),
    gate: (payload) => payload.sending_gate,
  })
  async onDeferredReply(event: EventOf<typeof CallReplyDeferred>): Promise<void> {
    // The promise of a deferred reply starts when it is due.
    const due = new Date(event.payload.deferred_until);
    await this.answerCall(event, due, due);
  }

  @OnOutboxEvent(InboundSmsReceived, { name: 'conversation.first_reply', retryBaseMs: 250, gate: gateOfReply })
  async onInboundText(event: EventOf<typeof InboundSmsReceived>): Promise<void> {
    const startedAt = performance.now();
    const { caller, business_number, message_id, received_at, decision } = event.payload;
    const contact: Contact = {
      tenantId: event.tenantId,
      caller,
      businessNumber: business_number,
      trigger: 'text',
      triggerId: message_id,
    };
    const messageId = await this.database.transaction(async (tx) => {
      await this.threads.open(tx, contact);
      if (decision !== 'reply') return undefined;
      const trigger = { id: message_id, at: new Date(received_at), recordedAt: event.occurredAt };
      return this.request(tx, contact, trigger, startedAt);
    });
    if (messageId) await this.telephony.submit(messageId);
  }

  private async answerCall(
    event: OutboxEvent<Omit<MissedCall, 'decision' | 'reason'>>,
    promisedFrom: Date,
    recordedAt: Date,
  ): Promise<void> {
    const startedAt = performance.now();
    const { caller, business_number, call_id } = event.payload;
    const contact: Contact = {
      tenantId: event.tenantId,
      caller,
      businessNumber: business_number,
      trigger: 'call',
      triggerId: call_id,
    };
    const messageId = await this.database.transaction(async (tx) => {
      await this.threads.open(tx, contact);
      return this.request(tx, contact, { id: call_id, at: promisedFrom, recordedAt }, startedAt);
    });
    await this.telephony.submit(messageId);
  }

  private async request(
    tx: Transaction,
    contact: Contact,
    trigger: TextRequest['trigger'],
    startedAt: number,
  ): Promise<string> {
    const { tenantId, caller, businessNumber } = contact;
    const { name } = await this.tenants.get(tx, tenantId);
    const [own] = await tx.query<{ template: string }>(TEMPLATE, [tenantId]);
    return this.telephony.requestText(tx, {
      tenantId,
      purpose: 'first_reply',
      dedupKey: `first_reply:${trigger.id}`,
      caller,
      businessNumber,
      body: renderFirstReply({ template: own?.template, businessName: name, trigger: contact.trigger }),
      trigger,
      handlerElapsedMs: performance.now() - startedAt,
    });
  }

  @OnOutboxEvent(CallReplySuppressed, { name: 'conversation.raise_urgency' })
  async onSuppressedReply(event: EventOf<typeof CallReplySuppressed>): Promise<void> {
    const { reason, caller, business_number, call_id } = event.payload;
    if (reason !== 'repeat') return;
    await this.database.transaction(async (tx) => {
      if (!(await consumeOnce(tx, 'conversation.raise_urgency', event.eventId))) return;
      const threadId = await this.threads.open(tx, {
        tenantId: event.tenantId,
        caller,
        businessNumber: business_number,
        trigger: 'call',
        triggerId: call_id,
      });
      await this.threads.raiseUrgency(tx, threadId);
    });
  }
}

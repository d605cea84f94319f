import { Injectable } from '@nestjs/common';
import { v7 as uuidv7 } from 'uuid';
import { currentContext, currentCorrelationId } from '../../common/context/context.js';
import { currentTraceparent, inSpan } from '../../common/tracing/spans.js';
import type { Transaction } from '../database/database.js';
import { INSERT_EVENT, LOCK_ORDER, ORDER_LOCK_CLASS } from './deliveries.queries.js';
import type { Delivery } from './delivery.js';
import { Dispatcher, LEASE_MS } from './dispatcher.service.js';
import type { EventContract, OutboxEvent } from './event.js';
import { Subscribers } from './subscribers.service.js';

export interface Publication<Payload> {
  tenantId: string;
  /** Same key, same order; the conversation, as a rule. */
  orderingKey: string;
  payload: Payload;
  /** On the database's clock; left out: the moment of the insert. */
  occurredAt?: Date;
}

interface InsertedRow {
  occurred_at: Date;
  delivery_id: string | null;
  subscriber: string;
  owner: number | null;
  fence: number;
}

/** The transactional outbox: an event is recorded with the state it reports, or not at all. */
@Injectable()
export class Outbox {
  constructor(
    private readonly subscribers: Subscribers,
    private readonly dispatcher: Dispatcher,
  ) {}

  /**
   * Records an event and a delivery for each of its subscribers in `tx`. After the commit this process starts on
   * them at once if it runs a dispatcher with room; others are told. From here to the commit, other transactions that
   * publish with the same key wait: publish last, and with several keys always in the same order.
   * @throws ZodError when the payload does not fit its contract: the transaction must not commit
   */
  publish<Payload>(
    tx: Transaction,
    contract: EventContract<Payload>,
    publication: Publication<Payload>,
  ): Promise<string> {
    return inSpan('outbox.write', { attributes: { 'messaging.destination.name': contract.name } }, async () => {
      const payload = contract.schema.parse(publication.payload);
      const subscriptions = this.subscribers.of(contract.name);
      const event: Omit<OutboxEvent, 'occurredAt'> = {
        eventId: uuidv7(),
        eventName: contract.name,
        schemaVersion: contract.version,
        tenantId: publication.tenantId,
        correlationId: currentCorrelationId(),
        causationId: currentContext()?.causationId,
        traceparent: currentTraceparent(),
        orderingKey: publication.orderingKey,
        payload,
      };
      if (subscriptions.length > 0) await tx.query(LOCK_ORDER, [ORDER_LOCK_CLASS, event.orderingKey]);
      const reservation = this.dispatcher.reserve(subscriptions.length, event.tenantId);
      const rows = await tx.query<InsertedRow>(INSERT_EVENT, [
        event.eventId,
        event.eventName,
        event.schemaVersion,
        event.tenantId,
        publication.occurredAt ?? null,
        event.correlationId,
        event.causationId ?? null,
        event.traceparent ?? null,
        event.orderingKey,
        JSON.stringify(payload),
        LEASE_MS,
        reservation ?? null,
        subscriptions.map(({ name }) => name),
        subscriptions.map(({ options }) => options.dueAt?.(payload) ?? null),
      ]);
      const insertedAt = performance.now();
      tx.afterCommit(() => this.handOver(event, rows, insertedAt));
      return event.eventId;
    });
  }

  private handOver(event: Omit<OutboxEvent, 'occurredAt'>, rows: readonly InsertedRow[], insertedAt: number): void {
    const deliveries = rows.filter((row) => row.delivery_id !== null);
    if (deliveries.length === 0) return;
    // After a long transaction the lease may be over, or nearly: others may already have it.
    const isFresh = performance.now() - insertedAt < LEASE_MS / 2;
    const ours = deliveries.filter((row) => row.owner !== null && row.owner === this.dispatcher.instanceId && isFresh);
    this.dispatcher.accept(
      ours.map(
        (row): Delivery => ({
          deliveryId: row.delivery_id ?? '',
          fence: row.fence,
          rescued: 0,
          started: 0,
          finished: 0,
          subscriber: row.subscriber,
          isFirst: true,
          waitedMs: 0,
          heldSince: insertedAt,
          event: { ...event, occurredAt: row.occurred_at },
        }),
      ),
    );
    if (ours.length < deliveries.length) this.dispatcher.nudge();
  }
}

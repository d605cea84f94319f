import { randomUUIDv7 } from 'node:crypto';
import { Injectable } from '@nestjs/common';
import { SpanKind } from '@opentelemetry/api';
import { currentContext, currentCorrelationId } from '../../common/context/context.js';
import { currentTraceparent, inSpan } from '../../common/tracing/spans.js';
import type { Transaction } from '../database/database.js';
import { ORDER_LOCK_CLASS, PUBLISH } from './deliveries.queries.js';
import { type Delivery, laneOf } from './delivery.js';
import { Dispatcher, LEASE_MS } from './dispatcher.service.js';
import type { EventContract, OutboxEvent } from './event.js';
import { NOTIFY_AT_ONCE } from './outbox-session.js';
import { Subscribers } from './subscribers.service.js';

export interface Publication<Payload> {
  tenantId: string;
  /** Same key, same order; the conversation, as a rule. */
  orderingKey: string;
  payload: Payload;
  /** On the database's clock; left out: the moment of the insert. */
  occurredAt?: Date;
}

/** What an event is to be delivered to: by position in the three arrays. */
interface Deliveries {
  /** Our instance id; null: whoever claims them. */
  owner: number | null;
  subscribers: string[];
  dueTimes: (Date | null)[];
  gates: (string | null)[];
}

interface InsertedRow {
  /** Milliseconds since the epoch. */
  occurred_at: number;
  delivery_id: string;
  subscriber: string;
  gate: string | null;
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
   * Records an event and a delivery for each of its subscribers in `tx`, as its last statement. After the commit this
   * process starts on them at once if it runs a dispatcher with room; others are told. Transactions that publish with
   * the same key commit one after another: with several keys, publish always in the same order.
   * @returns the event's id
   * @throws ZodError when the payload does not fit its contract: the transaction must not commit
   */
  publish<Payload>(tx: Transaction, contract: EventContract<Payload>, publication: Publication<Payload>): string {
    const event = {
      eventId: randomUUIDv7(),
      eventName: contract.name,
      schemaVersion: contract.version,
      tenantId: publication.tenantId,
      correlationId: currentCorrelationId(),
      causationId: currentContext()?.causationId,
      orderingKey: publication.orderingKey,
      payload: contract.schema.parse(publication.payload),
    };
    const attributes = {
      'messaging.system': 'postgres_outbox',
      'messaging.operation.name': 'publish',
      'messaging.operation.type': 'send',
      'messaging.destination.name': contract.name,
      event_id: event.eventId,
    };
    tx.beforeCommit((query) =>
      inSpan('outbox.write', { kind: SpanKind.PRODUCER, attributes }, async () => {
        const traced = { ...event, traceparent: currentTraceparent() };
        const sentAt = performance.now();
        const deliveries = this.deliveriesOf(traced);
        const isForOthers = deliveries.owner === null && deliveries.subscribers.length > 0;
        const areTold = isForOthers && this.dispatcher.takeTurn();
        if (areTold) tx.behindCommit((send) => send(NOTIFY_AT_ONCE, [], 'outbox-notify'));
        const parameters = parametersOf(traced, publication.occurredAt, deliveries);
        const rows = await query<InsertedRow>(PUBLISH, parameters, 'outbox-publish');
        tx.afterCommit(() => this.handOver(traced, rows, { sentAt, areTold }));
      }),
    );
    return event.eventId;
  }

  private deliveriesOf(event: Omit<OutboxEvent, 'occurredAt'>): Deliveries {
    const subscriptions = this.subscribers.of(event.eventName);
    const gates = subscriptions.map(({ options }) => options.gate?.(event.payload));
    return {
      owner: this.dispatcher.reserve(subscriptions.length, event.tenantId, gates) ?? null,
      subscribers: subscriptions.map(({ name }) => name),
      dueTimes: subscriptions.map(({ options }) => options.dueAt?.(event.payload) ?? null),
      gates: gates.map((gate) => gate ?? null),
    };
  }

  private handOver(
    event: Omit<OutboxEvent, 'occurredAt'>,
    rows: readonly InsertedRow[],
    { sentAt, areTold }: { sentAt: number; areTold: boolean },
  ): void {
    if (rows.length === 0) return;
    // After a long transaction the lease may be over, or nearly: others may already have it.
    const isFresh = performance.now() - sentAt < LEASE_MS / 2;
    const ours = rows.filter((row) => row.owner !== null && row.owner === this.dispatcher.instanceId && isFresh);
    this.dispatcher.accept(
      ours.map(
        (row): Delivery => ({
          deliveryId: row.delivery_id,
          fence: row.fence,
          rescued: 0,
          started: 0,
          finished: 0,
          subscriber: row.subscriber,
          gate: row.gate ?? undefined,
          isFirst: true,
          waitedMs: 0,
          heldSince: sentAt,
          lane: laneOf(row.subscriber, event.orderingKey),
          event: { ...event, occurredAt: new Date(row.occurred_at) },
        }),
      ),
    );
    if (ours.length < rows.length) areTold ? this.dispatcher.wake() : this.dispatcher.nudge();
  }
}

function parametersOf(
  event: Omit<OutboxEvent, 'occurredAt'>,
  occurredAt: Date | undefined,
  { owner, subscribers, dueTimes, gates }: Deliveries,
): unknown[] {
  return [
    event.eventId,
    event.eventName,
    event.schemaVersion,
    event.tenantId,
    occurredAt ?? null,
    event.correlationId,
    event.causationId ?? null,
    event.traceparent ?? null,
    event.orderingKey,
    JSON.stringify(event.payload),
    ORDER_LOCK_CLASS,
    LEASE_MS,
    owner,
    subscribers,
    dueTimes,
    gates,
  ];
}

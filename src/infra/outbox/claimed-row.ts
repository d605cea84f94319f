import type { EventName } from '../../common/metrics/catalogue.js';
import { isBefore, type Place } from './claim-floor.js';
import { type Delivery, laneOf } from './delivery.js';

/** What `infra.outbox_envelope` makes of an event. */
type Envelope = [
  schemaVersion: string,
  /** Milliseconds since the epoch. */
  occurredAt: number,
  correlationId: string,
  causationId: string | null,
  traceparent: string | null,
  payload: unknown,
];

/** A row as the claim answers it, by position: rows by name cost the driver a third of the time that a claim takes here. */
export type ClaimedRow = [
  deliveryId: string,
  fence: number,
  /** null: 0 */
  rescued: number | null,
  started: number | null,
  finished: number | null,
  subscriber: string,
  gate: string | null,
  /** A run of it has ended otherwise than well; null: not yet. */
  hasFailed: true | null,
  waitedMs: number,
  /** Microseconds since the epoch. */
  availableAt: number,
  eventId: string,
  eventName: EventName,
  tenantId: string,
  orderingKey: string,
  /** null: the event is gone. */
  envelope: Envelope | null,
];

export function deliveryOf(row: ClaimedRow, heldSince: number): Delivery {
  const [deliveryId, fence, rescued, started, finished, subscriber, gate, hasFailed, waitedMs, availableAt] = row;
  const [, , , , , , , , , , eventId, eventName, tenantId, orderingKey, envelope] = row;
  const [schemaVersion, occurredAt, correlationId, causationId, traceparent, payload] = envelope ?? [
    '0.0.0',
    availableAt / 1_000,
    eventId,
    null,
    null,
    undefined,
  ];
  return {
    deliveryId,
    fence,
    rescued: rescued ?? 0,
    started: started ?? 0,
    finished: finished ?? 0,
    subscriber,
    gate: gate ?? undefined,
    isFirst: hasFailed === null,
    waitedMs,
    heldSince,
    lane: laneOf(subscriber, orderingKey),
    event: {
      eventId,
      eventName,
      schemaVersion,
      tenantId,
      occurredAt: new Date(occurredAt),
      correlationId,
      causationId: causationId ?? undefined,
      traceparent: traceparent ?? undefined,
      orderingKey,
      payload,
    },
  };
}

/** How far a claim has come in the line; undefined when it found nothing. */
export function lastPlace(rows: readonly ClaimedRow[]): Place | undefined {
  let last: Place | undefined;
  for (const [id, , , , , , , , , at] of rows) if (!last || isBefore(last, { at, id })) last = { at, id };
  return last;
}

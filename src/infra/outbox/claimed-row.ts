import type { EventName } from '../../common/metrics/catalogue.js';
import type { Place } from './claim-floor.js';
import { type Delivery, laneOf } from './delivery.js';

/** A row as the claim answers it. */
export interface ClaimedRow {
  delivery_id: string;
  fence: number;
  rescued: number;
  started: number;
  finished: number;
  subscriber: string;
  gate: string | null;
  is_first: boolean;
  waited_ms: number;
  /** Microseconds since the epoch, bigint as text. */
  available_at: string;
  event_id: string;
  event_name: EventName;
  schema_version: string;
  tenant_id: string;
  /** Milliseconds since the epoch. */
  occurred_at: number;
  correlation_id: string;
  causation_id: string | null;
  traceparent: string | null;
  ordering_key: string;
  payload: unknown;
}

export function deliveryOf(row: ClaimedRow, heldSince: number): Delivery {
  return {
    deliveryId: row.delivery_id,
    fence: row.fence,
    rescued: row.rescued,
    started: row.started,
    finished: row.finished,
    subscriber: row.subscriber,
    gate: row.gate ?? undefined,
    isFirst: row.is_first,
    waitedMs: row.waited_ms,
    heldSince,
    lane: laneOf(row.subscriber, row.ordering_key),
    event: {
      eventId: row.event_id,
      eventName: row.event_name,
      schemaVersion: row.schema_version,
      tenantId: row.tenant_id,
      occurredAt: new Date(row.occurred_at),
      correlationId: row.correlation_id,
      causationId: row.causation_id ?? undefined,
      traceparent: row.traceparent ?? undefined,
      orderingKey: row.ordering_key,
      payload: row.payload,
    },
  };
}

/** How far a claim has come in the line; undefined when it found nothing. */
export function lastPlace(rows: readonly ClaimedRow[]): Place | undefined {
  let last: Place | undefined;
  // In the order of their ids, so that the later of two equals is the further one.
  for (const row of rows) {
    const at = Number(row.available_at);
    if (!last || at >= last.at) last = { at, id: row.delivery_id };
  }
  return last;
}

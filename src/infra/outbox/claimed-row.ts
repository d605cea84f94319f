import type { EventName } from '../../common/metrics/catalogue.js';
import type { Delivery } from './delivery.js';

/** A row as the claim answers it. */
export interface ClaimedRow {
  delivery_id: string;
  fence: number;
  rescued: number;
  started: number;
  finished: number;
  subscriber: string;
  is_first: boolean;
  waited_ms: number;
  event_id: string;
  event_name: EventName;
  schema_version: string;
  tenant_id: string;
  occurred_at: Date;
  correlation_id: string;
  causation_id: string | null;
  traceparent: string | null;
  ordering_key: string;
  payload: unknown;
  /** The last place in line that the claim took: microseconds (bigint as text), and id. */
  floor_at: string;
  floor_id: string;
}

export function deliveryOf(row: ClaimedRow, heldSince: number): Delivery {
  return {
    deliveryId: row.delivery_id,
    fence: row.fence,
    rescued: row.rescued,
    started: row.started,
    finished: row.finished,
    subscriber: row.subscriber,
    isFirst: row.is_first,
    waitedMs: row.waited_ms,
    heldSince,
    event: {
      eventId: row.event_id,
      eventName: row.event_name,
      schemaVersion: row.schema_version,
      tenantId: row.tenant_id,
      occurredAt: row.occurred_at,
      correlationId: row.correlation_id,
      causationId: row.causation_id ?? undefined,
      traceparent: row.traceparent ?? undefined,
      orderingKey: row.ordering_key,
      payload: row.payload,
    },
  };
}

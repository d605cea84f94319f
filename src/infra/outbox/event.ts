import type { z } from 'zod';
import type { EventName } from '../../common/metrics/catalogue.js';

/** The published form of an event: its wire name, version and payload schema. Lives in the producer's `contracts/`. */
export interface EventContract<Payload = unknown> {
  readonly name: EventName;
  /** Semver; additive changes are minor. */
  readonly version: `${number}.${number}.${number}`;
  /** When it is emitted, in one sentence; becomes `docs/events.md`. */
  readonly description: string;
  readonly schema: z.ZodType<Payload>;
}

/** Declares an event. Payloads hold ids and facts, never message bodies. */
export function defineEvent<Payload>(contract: EventContract<Payload>): EventContract<Payload> {
  return contract;
}

/** One event as it was recorded; what handlers receive. */
export interface OutboxEvent<Payload = unknown> {
  /** uuid v7. */
  readonly eventId: string;
  readonly eventName: EventName;
  readonly schemaVersion: string;
  readonly tenantId: string;
  readonly occurredAt: Date;
  readonly correlationId: string;
  readonly causationId?: string;
  /** W3C trace context of the span that wrote the row. */
  readonly traceparent?: string;
  /** Deliveries of one subscriber with the same key are handled one after another, in the order they were recorded. */
  readonly orderingKey: string;
  readonly payload: Payload;
}

/** The event that a contract describes, as its handlers receive it. */
export type EventOf<Contract> = Contract extends EventContract<infer Payload> ? OutboxEvent<Payload> : never;

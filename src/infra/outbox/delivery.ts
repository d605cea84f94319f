import type { OutboxEvent } from './event.js';

/** One subscriber's claim on one event, as held by this process. */
export interface Delivery {
  /** bigint as text: ids outgrow 2^53 never, but 2^31 soon. */
  readonly deliveryId: string;
  readonly fence: number;
  /** How often it was taken over from a process that died. */
  readonly rescued: number;
  /** Runs on record that never ended; only kept for rows that were taken over. */
  readonly started: number;
  /** Failed attempts so far. */
  readonly finished: number;
  readonly subscriber: string;
  /** The provider's account that it waits for, if any. */
  readonly gate: string | undefined;
  /** No run of it has ended yet, neither failed nor snoozed. */
  readonly isFirst: boolean;
  /** From due to `heldSince`, on the database's clock. */
  readonly waitedMs: number;
  /** `performance.now()` when this process got hold of it. */
  readonly heldSince: number;
  /** Rows of one lane run one after another. */
  readonly lane: string;
  readonly event: OutboxEvent;
}

/** The lane of a subscriber's deliveries with one ordering key, as the table has it in its column of that name. */
export function laneOf(subscriber: string, orderingKey: string): string {
  return `${subscriber}|${orderingKey}`;
}

/** What statements need to find rows as they are held: ids, and fences. */
export function columnsOf(held: readonly Delivery[]): [ids: string[], fences: number[]] {
  return [held.map(({ deliveryId }) => deliveryId), held.map(({ fence }) => fence)];
}

import { SetMetadata } from '@nestjs/common';
import type { EventContract, OutboxEvent } from './event.js';

export interface SubscriberOptions<Payload> {
  /**
   * Name of the subscription, `<context>.<verb>`: the span's name, the delivery's `subscriber`, part of stored data.
   * Renaming it orphans what is pending.
   */
  name: `${string}.${string}`;
  /** First step of the retry backoff (default 1000 ms); shorter where a person is waiting. */
  retryBaseMs?: number;
  /** A run longer than this is aborted and counts as failed (default 60 000 ms). */
  timeoutMs?: number;
  /** Deliver not before this time; until then the delivery is scheduled, neither lag nor queue depth. */
  dueAt?: (payload: Payload) => Date | undefined;
  /**
   * The provider's account that this delivery will ask, as `provider:account`: while its gate is shut, the delivery
   * waits without being run.
   */
  gate?: (payload: Payload) => string | undefined;
}

/** What a handler may know about the delivery itself. */
export interface DeliveryRun {
  /** 1 for the first run; snoozed runs are not counted. */
  readonly attempt: number;
  /** From due to the start of this run. */
  readonly waitMs: number;
  /** Aborts at the deadline and at shutdown's end; pass it to every I/O that takes one. */
  readonly signal: AbortSignal;
}

export interface SubscriptionMetadata {
  contract: EventContract;
  /** Erased: the payload that reaches `dueAt` has passed this contract's schema. */
  options: SubscriberOptions<unknown>;
}

export const SUBSCRIPTIONS = Symbol('outbox:subscriptions');

type Handler<Payload> = (event: OutboxEvent<Payload>, run: DeliveryRun) => Promise<void>;

/**
 * Subscribes a method to an event. Each subscription has its own deliveries, retries and dead letters.
 * Delivery is at least once and in order per ordering key: the method must be idempotent.
 */
export function OnOutboxEvent<Payload>(contract: EventContract<Payload>, options: SubscriberOptions<Payload>) {
  return <Method extends Handler<Payload>>(
    target: object,
    key: string | symbol,
    descriptor: TypedPropertyDescriptor<Method>,
  ): void => {
    const handler = descriptor.value;
    if (!handler) return;
    const earlier: SubscriptionMetadata[] = Reflect.getMetadata(SUBSCRIPTIONS, handler) ?? [];
    const metadata = { contract, options } as SubscriptionMetadata;
    SetMetadata(SUBSCRIPTIONS, [...earlier, metadata])(target, key, descriptor as PropertyDescriptor);
  };
}

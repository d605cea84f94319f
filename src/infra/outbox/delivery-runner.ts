import { Injectable } from '@nestjs/common';
import { SpanKind } from '@opentelemetry/api';
import { PinoLogger } from 'nestjs-pino';
import { runInContext } from '../../common/context/context.js';
import { AppError, errorCode } from '../../common/errors/app-error.js';
import { metrics } from '../../common/metrics/metrics.js';
import { inSpan } from '../../common/tracing/spans.js';
import { Bag } from './bag.js';
import type { Delivery } from './delivery.js';
import type { DeliveryRun } from './on-outbox-event.decorator.js';
import { PermanentFailure, Snooze } from './outbox.errors.js';
import { decideFailure, fingerprintOf } from './retry.policy.js';
import { RunDeadline } from './run-deadline.js';
import { Subscribers, type Subscription } from './subscribers.service.js';

const DEFAULT_TIMEOUT_MS = 60_000;
const DEFAULT_RETRY_BASE_MS = 1_000;
/** A trace is continued while it is one story; a retry hours later links to it through the correlation id instead. */
const TRACE_CONTINUES_MS = 15 * 60_000;

export type RunResult =
  | { kind: 'done' }
  | { kind: 'snooze' | 'retry'; delayMs: number; errorCode: string }
  | { kind: 'dead_letter'; reason: string; errorCode: string; fingerprint: string };

/** Runs one handler with its context, span, deadline, metrics and log line, and says what its end means. */
@Injectable()
export class DeliveryRunner {
  private readonly deadlines = new Bag<RunDeadline>();

  constructor(
    private readonly subscribers: Subscribers,
    private readonly logger: PinoLogger,
  ) {}

  run(delivery: Delivery): Promise<RunResult> {
    const { event } = delivery;
    const subscription = this.subscribers.named(delivery.subscriber, event.eventName);
    return runInContext(
      {
        correlationId: event.correlationId,
        causationId: event.eventId,
        tenantId: event.tenantId,
        module: subscription?.module ?? 'infra',
      },
      () => this.measured(delivery, subscription),
    );
  }

  /** Tells every running handler that the process is about to end: what does not finish is run again, unblamed. */
  abortAll(): void {
    for (const deadline of this.deadlines.all) deadline.abort(new Snooze(0, 'shutting_down'));
  }

  private async measured(delivery: Delivery, subscription: Subscription | undefined): Promise<RunResult> {
    const { event } = delivery;
    const labels = { event_name: event.eventName };
    const startedAt = performance.now();
    const waitMs = delivery.waitedMs + startedAt - delivery.heldSince;
    const attempt = delivery.finished + 1;
    metrics.increment('outbox_dispatch_attempts_total', labels);
    if (delivery.isFirst) metrics.observe('outbox_wait_ms', waitMs, labels);
    try {
      await this.traced(delivery, subscription, waitMs);
      const latencyMs = performance.now() - startedAt;
      this.logger.info(line(delivery, { wait_ms: round(waitMs), latency_ms: round(latencyMs) }), 'event handled');
      return { kind: 'done' };
    } catch (error) {
      const decision = decideFailure(
        error,
        attempt,
        subscription?.options.retryBaseMs ?? DEFAULT_RETRY_BASE_MS,
        Math.random(),
      );
      if (decision.kind === 'snooze') {
        const reason = error instanceof Snooze ? error.reason : errorCode(error);
        this.logger.info(line(delivery, { delay_ms: decision.delayMs, reason }), 'event snoozed');
        return { ...decision, errorCode: reason };
      }
      metrics.increment('outbox_dispatch_failures_total', labels);
      const level = decision.kind === 'dead_letter' ? 'error' : 'warn';
      this.logger[level](
        line(delivery, { ...decision, err: error }),
        `event ${decision.kind === 'retry' ? 'failed, will be retried' : 'is a dead letter'}`,
      );
      return {
        ...decision,
        errorCode: errorCode(error),
        ...(decision.kind === 'dead_letter' && { fingerprint: fingerprintOf(error) }),
      } as RunResult;
    } finally {
      metrics.observe('outbox_dispatch_duration_ms', performance.now() - startedAt, labels);
    }
  }

  private traced(delivery: Delivery, subscription: Subscription | undefined, waitMs: number): Promise<void> {
    const { event } = delivery;
    const fresh = Date.now() - event.occurredAt.getTime() < TRACE_CONTINUES_MS;
    const attributes = {
      'messaging.system': 'postgres_outbox',
      'messaging.operation.name': 'dispatch',
      'messaging.operation.type': 'process',
      'messaging.destination.name': event.eventName,
      'messaging.message.id': delivery.deliveryId,
      'messaging.message.conversation_id': event.correlationId,
      event_id: event.eventId,
      'nmc.outbox.wait_ms': Math.round(waitMs),
      'nmc.outbox.attempt': delivery.finished + 1,
    };
    const parent = fresh ? event.traceparent : undefined;
    return inSpan('outbox.dispatch', { kind: SpanKind.CONSUMER, attributes, parent }, () => {
      if (!subscription) {
        throw new PermanentFailure(
          'outbox.no_subscriber',
          `No handler is called ${delivery.subscriber} for ${event.eventName}`,
        );
      }
      return inSpan(subscription.name, { attributes: { event_id: event.eventId } }, () =>
        this.handle(delivery, subscription, waitMs),
      );
    });
  }

  private async handle(delivery: Delivery, subscription: Subscription, waitMs: number): Promise<void> {
    const payload = subscription.contract.schema.safeParse(delivery.event.payload);
    if (!payload.success) {
      throw new PermanentFailure(
        'outbox.bad_payload',
        `${delivery.event.eventName} does not fit its schema`,
        payload.error,
      );
    }
    const deadline = new RunDeadline(subscription.name, subscription.options.timeoutMs ?? DEFAULT_TIMEOUT_MS);
    this.deadlines.add(deadline);
    const run = new Run(delivery.finished + 1, waitMs, deadline);
    try {
      // Given up, it has been told to stop, and the fence refuses its result; its own writes it must guard itself.
      await deadline.limit(subscription.handle({ ...delivery.event, payload: payload.data }, run));
    } catch (error) {
      // Whatever an aborted call threw, the reason it was aborted for is the truth; an error of ours says more.
      throw deadline.abortedFor && !(error instanceof AppError || error instanceof Snooze)
        ? deadline.abortedFor
        : error;
    } finally {
      deadline.clear();
      this.deadlines.delete(deadline);
    }
  }
}

/** A class, so that the signal is made for those who ask for it, and the getter not once a run. */
class Run implements DeliveryRun {
  constructor(
    readonly attempt: number,
    readonly waitMs: number,
    private readonly deadline: RunDeadline,
  ) {}

  get signal(): AbortSignal {
    return this.deadline.signal;
  }
}

/** What a log line says of a run. */
function line({ deliveryId, subscriber, finished, event }: Delivery, more: object): object {
  const { eventName, eventId } = event;
  return {
    event_name: eventName,
    event_id: eventId,
    outbox_id: deliveryId,
    attempts: finished + 1,
    subscriber,
    ...more,
  };
}

function round(ms: number): number {
  return Math.round(ms * 10) / 10;
}

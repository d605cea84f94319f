import { randomUUID } from 'node:crypto';
import type { CallbackFault, Faults } from './faults.js';
import { History } from './history.js';
import type { Ledger, MessageStatus, SimulatedMessage } from './ledger.js';
import { API_VERSION } from './message.resource.js';
import type { Timers } from './timers.js';
import type { WebhookResult, WebhookSender } from './webhooks.js';

/** Where a message to a destination ends. `queued` and `sent` mean that nothing is heard after that. */
export interface DeliveryOutcome {
  readonly status: 'queued' | 'sent' | 'delivered' | 'undelivered' | 'failed';
  readonly errorCode?: number;
}

/** One status callback and what became of it. */
export interface CallbackRecord {
  readonly sid: string;
  readonly status: MessageStatus;
  readonly to: string;
  /** Null when a fault dropped it. */
  readonly result: WebhookResult | null;
}

export interface DeliveryDependencies {
  readonly ledger: Ledger;
  readonly faults: Faults;
  readonly timers: Timers;
  readonly webhooks: WebhookSender;
  readonly now: () => Date;
  readonly stepMs: number;
  /** The statuses that are called back, besides never the initial one. */
  readonly callbackStatuses: ReadonlySet<string>;
  readonly senderOf: (message: SimulatedMessage) => string;
}

/** The two halves of a delivery, around the answer to the create request. */
export interface BegunDelivery {
  readonly beforeAnswer: Promise<void>;
  proceed(): void;
}

/** Moves accepted messages through their statuses and calls back about them. */
export class Delivery {
  readonly callbacks = new History<CallbackRecord>();
  private readonly outcomes = new Map<string, DeliveryOutcome>();
  private readonly running = new Set<Promise<void>>();

  constructor(private readonly use: DeliveryDependencies) {}

  outcome(to: string, outcome: DeliveryOutcome | undefined): void {
    if (outcome === undefined) this.outcomes.delete(to);
    else this.outcomes.set(to, outcome);
  }

  begin(message: SimulatedMessage): BegunDelivery {
    const fault = this.use.faults.callbacks.take(message.to);
    const outcome = this.outcomes.get(message.to) ?? { status: 'delivered' as const };
    const steps = stepsOf(message, outcome);
    const poster = new CallbackQueue(fault, (status, times) => this.post(message, status, times));
    const advance = (status: MessageStatus) => {
      this.advance(message, status, outcome);
      if (this.isCalledBack(message, status)) poster.add(status);
    };
    const early = fault?.kind === 'early' ? steps.splice(0, untilHeard(steps)) : [];
    for (const status of early) advance(status);
    return {
      beforeAnswer: poster.settled,
      proceed: () => this.track(this.run(steps, advance, poster)),
    };
  }

  /** Resolves when nothing is under way any more. */
  async settled(): Promise<void> {
    await Promise.all(this.running);
  }

  private async run(
    steps: readonly MessageStatus[],
    advance: (status: MessageStatus) => void,
    poster: CallbackQueue,
  ): Promise<void> {
    for (const status of steps) {
      if (!(await this.use.timers.wait(this.use.stepMs))) return;
      advance(status);
    }
    poster.flush();
    await poster.settled;
  }

  private advance(message: SimulatedMessage, status: MessageStatus, outcome: DeliveryOutcome): void {
    message.from ??= this.use.senderOf(message);
    if (status === 'undelivered' || status === 'failed') message.errorCode = outcome.errorCode ?? 30008;
    this.use.ledger.advance(message, status, this.use.now());
  }

  private isCalledBack(message: SimulatedMessage, status: MessageStatus): boolean {
    return Boolean(message.params['StatusCallback']) && this.use.callbackStatuses.has(status);
  }

  /** Posts one callback so many times at once, as one event with one token. */
  private async post(message: SimulatedMessage, status: MessageStatus, times: number): Promise<void> {
    const { sid, to, accountSid } = message;
    const url = message.params['StatusCallback'] ?? '';
    const params = callbackParams(message, status, this.use.now());
    const options = { accountSid, idempotencyToken: randomUUID() };
    if (times === 0) this.callbacks.append({ sid, status, to, result: null });
    const copies = Array.from({ length: times }, async () => {
      const result = await this.use.webhooks.post(url, params, options);
      this.callbacks.append({ sid, status, to, result });
    });
    await Promise.all(copies);
  }

  private track(work: Promise<void>): void {
    this.running.add(work);
    void work.finally(() => this.running.delete(work));
  }
}

/** Posts the callbacks of one message one after the other, as far as its fault lets it. */
class CallbackQueue {
  settled: Promise<void> = Promise.resolve();
  private held: MessageStatus[] = [];

  constructor(
    private readonly fault: CallbackFault | undefined,
    private readonly post: (status: MessageStatus, times: number) => Promise<void>,
  ) {}

  add(status: MessageStatus): void {
    const { fault } = this;
    if (fault?.kind === 'reorder' && status !== 'delivered' && status !== 'undelivered' && status !== 'failed') {
      this.held.push(status);
    } else if (fault?.kind === 'drop' && (fault.statuses?.includes(status) ?? true)) {
      this.enqueue(status, 0);
    } else {
      this.enqueue(status, fault?.kind === 'duplicate' ? (fault.times ?? 2) : 1);
    }
  }

  /** Posts what was held back, latest status first. */
  flush(): void {
    for (const status of this.held.reverse()) this.enqueue(status, 1);
    this.held = [];
  }

  private enqueue(status: MessageStatus, times: number): void {
    this.settled = this.settled.then(() => this.post(status, times));
  }
}

function stepsOf(message: SimulatedMessage, { status }: DeliveryOutcome): MessageStatus[] {
  const queued: MessageStatus[] = message.status === 'accepted' ? ['queued'] : [];
  if (status === 'queued') return queued;
  if (status === 'failed') return [...queued, 'failed'];
  return status === 'sent' ? [...queued, 'sending', 'sent'] : [...queued, 'sending', 'sent', status];
}

/** How many steps lead to the first status that anybody hears of. */
function untilHeard(steps: readonly MessageStatus[]): number {
  return steps.findIndex((status) => status === 'sent' || status === 'failed') + 1;
}

function callbackParams(message: SimulatedMessage, status: MessageStatus, at: Date): Record<string, string> {
  const params: Record<string, string> = {
    ApiVersion: API_VERSION,
    MessageStatus: status,
    SmsSid: message.sid,
    SmsStatus: status,
    To: message.to,
    MessageSid: message.sid,
    AccountSid: message.accountSid,
  };
  if (message.from !== null) params['From'] = message.from;
  if (message.messagingServiceSid !== null) params['MessagingServiceSid'] = message.messagingServiceSid;
  if ((status === 'undelivered' || status === 'failed') && message.errorCode !== null) {
    params['ErrorCode'] = String(message.errorCode);
  }
  if (status === 'delivered' || status === 'undelivered') {
    params['RawDlrDoneDate'] = at.toISOString().replace(/\D/g, '').slice(2, 12);
  }
  return params;
}

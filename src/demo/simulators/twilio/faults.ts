/**
 * What may go wrong with a create request.
 *
 * | kind | in the ledger | the caller sees |
 * |---|---|---|
 * | `latency` | yes | the answer, `ms` later |
 * | `hang` | no | nothing: the connection stays open |
 * | `hang_accepted` | yes | nothing |
 * | `reset` | no | the connection reset |
 * | `lost_response` | yes | the connection closed without an answer |
 * | `truncated` | yes | 201, the connection closed in the middle of the body |
 * | `garbage` | yes | 201 with a body that is not JSON |
 * | `status_500`, `status_503` | no | the error |
 * | `status_500_accepted` | yes | the error |
 * | `status_429` | no | 429, with `Retry-After` if given |
 * | `reject` | no | `status` with the error `code` |
 */
export type CreateFault =
  | { kind: 'latency'; ms: number }
  | { kind: 'hang' }
  | { kind: 'hang_accepted' }
  | { kind: 'reset' }
  | { kind: 'lost_response' }
  | { kind: 'truncated' }
  | { kind: 'garbage' }
  | { kind: 'status_500' }
  | { kind: 'status_500_accepted' }
  | { kind: 'status_503' }
  | { kind: 'status_429'; retryAfterSeconds?: number }
  | { kind: 'reject'; status: number; code: number; message?: string };

/** What may go wrong with a list or a fetch. `empty` answers as if nothing matched (404 on a fetch). */
export type ReadFault =
  | Extract<
      CreateFault,
      { kind: 'latency' | 'hang' | 'reset' | 'garbage' | 'status_500' | 'status_503' | 'status_429' | 'reject' }
    >
  | { kind: 'empty' };

/**
 * What may go wrong with the status callbacks of a message: `duplicate` posts each one `times` over at once, `reorder`
 * posts `sent` after the final one, `drop` posts none (or none of the given statuses), `early` posts `sent` before the
 * create request is answered.
 */
export type CallbackFault =
  | { kind: 'duplicate'; times?: number }
  | { kind: 'reorder' }
  | { kind: 'drop'; statuses?: readonly string[] }
  | { kind: 'early' };

/** The kinds that need no further argument may be given by name. */
type Named<F extends { kind: string }> = F extends { kind: infer K } ? ({ kind: K } extends F ? K : never) : never;
export type FaultSpec<F extends { kind: string }> = F | Named<F>;

export interface FaultScope {
  /** Only requests to this phone number. */
  to?: string;
  /** How many requests in a row (1). */
  times?: number;
}

/** Faults of one kind of request: those queued are used up one a request, then the standing one applies. */
export class FaultScript<F extends { kind: string }> {
  private queue: { fault: F; to?: string }[] = [];
  private standing: { fault: F; to?: string }[] = [];

  /** Queues a fault for the next matching request. */
  next(spec: FaultSpec<F>, { to, times = 1 }: FaultScope = {}): this {
    for (let i = 0; i < times; i += 1) this.queue.push({ fault: this.resolve(spec), to });
    return this;
  }

  /** Applies a fault to every matching request until cleared; the latest one wins. */
  always(spec: FaultSpec<F>, { to }: Pick<FaultScope, 'to'> = {}): this {
    this.standing.unshift({ fault: this.resolve(spec), to });
    return this;
  }

  clear(): void {
    this.queue = [];
    this.endStanding();
  }

  /** Ends what applies to every request, and leaves what is queued. */
  endStanding(): void {
    this.standing = [];
  }

  /** Faults queued and not yet used. */
  get pending(): number {
    return this.queue.length;
  }

  take(to?: string): F | undefined {
    const applies = (entry: { to?: string }) => entry.to === undefined || entry.to === to;
    const index = this.queue.findIndex(applies);
    if (index >= 0) return this.queue.splice(index, 1)[0]?.fault;
    return this.standing.find(applies)?.fault;
  }

  private resolve(spec: FaultSpec<F>): F {
    return typeof spec === 'string' ? ({ kind: spec } as unknown as F) : (spec as F);
  }
}

/** The fault script of the simulator; its own methods are about create requests. */
export class Faults extends FaultScript<CreateFault> {
  readonly list = new FaultScript<ReadFault>();
  readonly fetch = new FaultScript<ReadFault>();
  readonly callbacks = new FaultScript<CallbackFault>();

  nextList(spec: FaultSpec<ReadFault>, scope?: FaultScope): this {
    this.list.next(spec, scope);
    return this;
  }

  nextCallback(spec: FaultSpec<CallbackFault>, scope?: FaultScope): this {
    this.callbacks.next(spec, scope);
    return this;
  }

  /** Clears every script. */
  override clear(): void {
    super.clear();
    this.list.clear();
    this.fetch.clear();
    this.callbacks.clear();
  }
}

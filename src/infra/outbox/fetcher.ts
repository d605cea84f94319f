import type { Claim, Claims } from './claims.js';
import type { Delivery } from './delivery.js';
import { detached } from './detached.js';
import type { FairQueue } from './fair-queue.js';
import { NOTIFY_INTERVAL_MS } from './outbox-session.js';
import type { Runs } from './runs.js';
import type { TroubleLog } from './trouble-log.js';
import { UnderWay } from './under-way.js';

/**
 * Those who publish may not wake us more often than each `NOTIFY_INTERVAL_MS`: for so long after we have found something,
 * and while we could start more at once, we look again by ourselves, first after this time and then after twice as long
 * each time.
 */
const BUSY_LOOK_MS = 1;
const CLAIM_RETRY_MS = 250;
const NOTHING: Claim = { deliveries: [], isFull: false, isOfSlowCommits: false };

export interface FetcherOptions {
  /** Rows that a claim brings, at most. */
  batchSize: number;
  /** Rows that wait or run, at most. */
  capacity: number;
  /** Handlers at once, at most. */
  concurrency: number;
  /** Whom to claim for; undefined: nobody, just now. */
  instance: () => number | undefined;
  isOpen: () => boolean;
  onClaimed: (deliveries: readonly Delivery[]) => void;
}

/**
 * Claims what is due while there is room for it: one claim after the other, in a backlog sent before the one ahead of it is
 * answered, and beside one that has come back to a flood another one for everybody else.
 */
export class Fetcher {
  private readonly underWay = new UnderWay();
  private isFetching = false;
  private isFetchingAhead = false;
  private fetchAgain = false;
  /** Somebody has said, since the last claim was sent, that there is something. */
  private isTold = false;
  /** The last claim brought as much as it could. */
  private isBacklog = false;
  /** Rows that the claims under way may bring. */
  private asked = 0;
  private foundAt = Number.NEGATIVE_INFINITY;
  private busyLook: NodeJS.Timeout | undefined;
  /** The last claim had no room: claimed again as soon as there is some. */
  private starved = false;

  constructor(
    private readonly claims: Claims,
    private readonly queue: FairQueue,
    private readonly runs: Runs,
    private readonly trouble: TroubleLog,
    private readonly options: FetcherOptions,
  ) {}

  /** Cheap to call: calls during a claim become one more claim. `isTold`: there is something, unless others were faster. */
  look(isTold = false): void {
    this.isTold ||= isTold;
    clearTimeout(this.busyLook);
    this.busyLook = undefined;
    // A new session looks by itself.
    if (!this.options.isOpen()) return;
    if (this.isFetching) this.fetchAgain = true;
    else this.underWay.add(detached(() => this.fetch()));
  }

  /** A flood's claim takes as long as a hundred rows do, and what is new of the others need not wait for it. */
  lookAhead(): void {
    const canHelp = this.claims.isBack && !this.isFetchingAhead && this.hasRoom;
    if (canHelp && this.options.isOpen()) this.underWay.add(detached(() => this.fetchAhead()));
  }

  /** There is room for one more row. */
  roomAgain({ event }: Delivery): void {
    if ((this.starved && this.hasRoom) || this.claims.fitsAgain(event.tenantId)) this.look();
  }

  /** Resolves when no claim is under way, at the deadline at the latest. */
  async ended(deadlineMs: number): Promise<void> {
    await this.underWay.ended(deadlineMs);
  }

  private async fetch(): Promise<void> {
    this.isFetching = true;
    /** Sent before the one ahead of it was answered. */
    let following: Promise<Claim> | undefined;
    try {
      do {
        this.fetchAgain = false;
        // A claim costs about the same for one row as for many: rather wait for room than trickle.
        this.starved = !following && !this.hasRoom;
        if (this.starved) this.runs.deal();
        if (!following && (this.starved || !this.options.isOpen())) return;
        const { isTold } = this;
        this.isTold = false;
        const claim = following ?? this.takeNext();
        following = this.isBacklog && this.mayFollow ? this.takeNext() : undefined;
        const { deliveries, isFull, isOfSlowCommits } = await claim;
        this.isBacklog = isFull;
        if (this.isBacklog || following) this.fetchAgain = true;
        // The next claim goes out first: runs that never wait for anything would keep it from the socket.
        if (this.fetchAgain) setImmediate(this.runs.deal);
        else this.runs.deal();
        const mayBeLate = isOfSlowCommits || (isTold && deliveries.length === 0);
        if (mayBeLate && !this.fetchAgain && this.claims.mayDiscoverLate) this.underWay.add(this.lookForLate());
      } while (this.fetchAgain);
      const sinceFound = performance.now() - this.foundAt;
      if (sinceFound < NOTIFY_INTERVAL_MS && this.queue.size < this.options.concurrency) {
        this.busyLook = setTimeout(() => this.look(), Math.max(BUSY_LOOK_MS, sinceFound));
      }
    } catch (error) {
      this.trouble.failed('claim', error);
      this.isBacklog = false;
      await following?.catch(() => {});
      setTimeout(() => this.look(), CLAIM_RETRY_MS * (0.5 + Math.random() / 2)).unref();
    } finally {
      this.isFetching = false;
    }
  }

  private lookForLate(): Promise<void> {
    return this.trouble.watch('discovery', async () => {
      if (await this.claims.discoverLate()) this.look();
    });
  }

  private async fetchAhead(): Promise<void> {
    this.isFetchingAhead = true;
    try {
      await this.take((instance, room) => this.claims.ahead(instance, room));
      this.runs.deal();
    } catch (error) {
      // The next claim of the others sees to what this one did not.
      this.trouble.failed('claim', error);
    } finally {
      this.isFetchingAhead = false;
    }
  }

  /** A failure is told when its turn comes, which may be later than it fails. */
  private takeNext(): Promise<Claim> {
    const taken = this.take((instance, room) => this.claims.next(instance, room));
    taken.catch(() => {});
    return taken;
  }

  private get mayFollow(): boolean {
    return this.claims.isStraightOn && this.hasRoom && this.options.isOpen();
  }

  private get room(): number {
    const { batchSize, capacity } = this.options;
    return Math.min(batchSize, this.queue.roomWithin(capacity) - this.asked);
  }

  private get hasRoom(): boolean {
    return this.room >= this.options.batchSize / 2;
  }

  private async take(claim: (instance: number, room: number) => Promise<Claim>): Promise<Claim> {
    const { room } = this;
    const instance = this.options.instance();
    if (instance === undefined) return NOTHING;
    this.asked += room;
    const taken = await claim(instance, room).finally(() => {
      this.asked -= room;
    });
    this.trouble.worked('claim');
    // Claimed for an identity that is over: given back as orphans, and to be claimed anew.
    if (instance !== this.options.instance()) return { ...NOTHING, isFull: true };
    this.options.onClaimed(taken.deliveries);
    if (taken.deliveries.length > 0) this.foundAt = performance.now();
    return taken;
  }
}

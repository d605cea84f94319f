import type pg from 'pg';
import { STATEMENT_TIMEOUT_MS } from '../database/data-source.js';
import type { ProviderGates } from '../gates/provider-gates.service.js';
import { ClaimFloor, isLess, type Look, type Place, placeOf } from './claim-floor.js';
import { type ClaimedRow, deliveryOf, lastPlace } from './claimed-row.js';
import { CLAIM, CLAIM_PROBES, FIRST_CLAIMABLE, LANE_MARGIN_MS, YIELD } from './deliveries.queries.js';
import type { Delivery } from './delivery.js';
import { DutyCycle } from './duty-cycle.js';
import type { FairQueue } from './fair-queue.js';
import { Pipeline } from './pipeline.js';

/** Looking from the very front may take this share of the time, and so may looking for what has just committed late. */
const DISCOVERY_SHARE = 0.05;
/** What commits late stands at most so far behind the floor: longer than any statement takes. */
const LATEST_COMMIT_US = (STATEMENT_TIMEOUT_MS + 2_000) * 1_000;
/** And nearly all of it no further than this. */
const USUALLY_LATEST_COMMIT_US = 2_000_000;
/** Who waited longer before anybody saw it, without a backlog, has committed late, and others with it. */
const SLOW_COMMIT_MS = 50;

/** Whose rows claims leave for later: there is enough of them, or they may not run now. */
export interface PassedOver {
  tenants: readonly string[];
  gates: readonly string[];
}
const NOBODY: PassedOver = { tenants: [], gates: [] };

/** The first in line of the rows that head the lanes that just came free. */
export interface NextInLanes {
  usual: Place | undefined;
  /** The first of those whom claims had passed over by then. */
  ofPassedOver: Place | undefined;
  passedOver: PassedOver;
}

/** What a claim brought. */
export interface Claim {
  deliveries: Delivery[];
  /** As many as there was room for: there may be more. */
  isFull: boolean;
  /** Commits are slow just now: there may be more behind the floor. */
  isOfSlowCommits: boolean;
}

type Send = (statement: pg.QueryArrayConfig) => Promise<{ rows: ClaimedRow[] }>;

/** Which due rows this process takes next: in line, but past those that there is enough of, or that may not run now. */
export class Claims {
  private readonly floor = new ClaimFloor();
  /** Tenants that the last claim passed over. */
  private crowding: readonly string[] = [];
  /** Whose rows the floor may have passed over. */
  private passed = NOBODY;
  private isBackUnderWay = false;
  /** The last claim passed over nobody. */
  private isOfAll = false;
  private readonly fromFront = new DutyCycle(DISCOVERY_SHARE);
  private readonly forLate = new DutyCycle(DISCOVERY_SHARE);
  /** From `performance.now()` in microseconds to the database's clock, or a little less. */
  private clockOffset: number | undefined;
  /** Beside whatever is under way. */
  private readonly beside: Send;
  /** Behind the claim under way. */
  private readonly behind: Send;

  /** @param claimPool its connections in pipeline mode */
  constructor(
    private readonly claimPool: pg.Pool,
    private readonly resultPool: pg.Pool,
    private readonly queue: FairQueue,
    private readonly gates: ProviderGates,
    private readonly settings: { leaseMs: number; tenantShare: number },
  ) {
    const pipeline = new Pipeline(claimPool);
    this.beside = (statement) => claimPool.query(statement);
    this.behind = (statement) => pipeline.query(statement);
  }

  /** The claim under way has come back to those whose rows were passed over: what is new of the others waits behind it. */
  get isBack(): boolean {
    return this.isBackUnderWay;
  }

  /**
   * Whether another claim may be sent before the last one is answered: nobody is passed over, so that what it brings does
   * not decide whom the next one wants.
   */
  get isStraightOn(): boolean {
    return this.isOfAll && this.passed === NOBODY;
  }

  /**
   * Claims up to `room` rows, and one more for each half-open gate: what waits behind it is its probe. The server begins
   * with it when it has done the claim sent before.
   */
  async next(instance: number, room: number): Promise<Claim> {
    const { full, toProbe } = this.gates.narrow(this.queue.heldFor);
    this.crowding = this.queue.crowding(this.settings.tenantShare);
    const look = this.floor.next([...this.crowding, ...full]);
    const sentAt = this.databaseTime();
    this.isOfAll = this.crowding.length + full.length + toProbe.length === 0;
    this.isBackUnderWay ||= look.isBack;
    const over = { tenants: this.crowding, gates: full };
    const rows = await this.claim(this.behind, instance, room, over, look).finally(() => {
      if (look.isBack) this.isBackUnderWay = false;
    });
    const isFull = rows.length === room;
    this.floor.claimed(look, { last: lastPlace(rows), isFull, sentAt });
    this.notePassed(full);
    if (toProbe.length > 0) {
      rows.push(...(await this.query(this.beside, 'outbox-claim-probes', CLAIM_PROBES, instance, [toProbe])));
    }
    return claimOf(rows, isFull);
  }

  /** Claims up to `room` rows of those who were never passed over, beside a claim that has come back to the others. */
  async ahead(instance: number, room: number): Promise<Claim> {
    const { passed } = this;
    const { full } = this.gates.narrow(this.queue.heldFor);
    const isNew = !full.every(isIn(passed.gates));
    const sentAt = this.databaseTime();
    const look = this.floor.ahead();
    const over = { ...passed, gates: isNew ? [...passed.gates, ...full] : passed.gates };
    const rows = await this.claim(this.beside, instance, room, over, look);
    // The other claim may have ended meanwhile, with nobody left who was passed over.
    const isFull = rows.length === room;
    if (!isNew && passed === this.passed) this.floor.claimed(look, { last: lastPlace(rows), isFull, sentAt });
    else this.floor.end(look);
    return claimOf(rows, isFull);
  }

  /**
   * Looks for what the claims do not see from their floor: late commits, each time; lanes that another process unblocked
   * and leases that ran out, which may stand anywhere, as often as that is cheap.
   * @returns whether there is something to claim
   */
  discover(): Promise<boolean> {
    if (this.fromFront.isDue) return this.fromFront.run(() => this.discoverFrom(this.floor.behind(Infinity)));
    return this.discoverFrom(this.floor.behind(LATEST_COMMIT_US));
  }

  /** Whether looking for what has just committed late would not take too much of the time. */
  get mayDiscoverLate(): boolean {
    return this.forLate.isDue;
  }

  /** The same for what has just committed late, between those looks: while the disk is slow, that is everything. */
  discoverLate(): Promise<boolean> {
    return this.forLate.run(() => this.discoverFrom(this.floor.behind(USUALLY_LATEST_COMMIT_US)));
  }

  private async discoverFrom(look: Look): Promise<boolean> {
    const { passed } = this;
    try {
      const { lookedAt, first } = await this.firstClaimable(passed, look.from.at);
      // Their own first row: it may stand before the place where the claims will come back to them.
      const ofAnybody = passed === NOBODY ? undefined : (await this.firstClaimable(NOBODY, look.from.at)).first;
      // Where claims have changed that meanwhile, the look does not say that there was nothing.
      if (first || passed === this.passed) this.floor.looked(look, lookedAt, first);
      if (ofAnybody) this.floor.lowerPassedOver(ofAnybody);
      return first !== undefined;
    } finally {
      this.floor.end(look);
    }
  }

  private async firstClaimable(
    { tenants, gates }: PassedOver,
    since: number,
  ): Promise<{ lookedAt: number; first: Place | undefined }> {
    const { rows } = await this.claimPool.query<{ looked_at: number; at: number | null; delivery_id: string }>({
      name: 'outbox-discovery',
      text: FIRST_CLAIMABLE,
      values: [tenants, gates, since],
    });
    const [row] = rows;
    if (!row) throw new Error('the look for claimable rows answered nothing');
    this.clockOffset = row.looked_at - performance.now() * 1_000;
    return { lookedAt: row.looked_at, first: placeOf(row.at, row.delivery_id) };
  }

  /** Whose rows the claims may have passed over by now. */
  get passedOver(): PassedOver {
    return this.passed;
  }

  /** Rows that head their lanes may be claimed from now on; undefined: such as became available a moment ago. */
  lookBack(next: NextInLanes | undefined): void {
    if (!next) {
      this.floor.stepBack();
      return;
    }
    const { usual, ofPassedOver, passedOver } = next;
    if (usual) this.floor.lower(usual);
    if (ofPassedOver) this.floor.lowerPassedOver(ofPassedOver);
    // Others are passed over by now: whoever comes back for those does not come back for these.
    if (ofPassedOver && passedOver !== this.passed) this.floor.lower(ofPassedOver);
  }

  /** Whether a tenant was passed over, of which there is not enough any more. */
  fitsAgain(tenantId: string): boolean {
    return this.crowding.includes(tenantId) && this.queue.heldOf(tenantId) < this.settings.tenantShare / 2;
  }

  /** Nothing is known of the line any more. */
  reset(): void {
    this.floor.reset();
    this.passed = NOBODY;
  }

  private async claim(
    send: Send,
    instance: number,
    room: number,
    { tenants, gates }: PassedOver,
    look: Look,
  ): Promise<ClaimedRow[]> {
    try {
      const { at, id } = look.from;
      return await this.query(send, 'outbox-claim', CLAIM, instance, [room, tenants, gates, at, id]);
    } catch (error) {
      this.floor.end(look);
      throw error;
    }
  }

  private async query(
    send: Send,
    name: string,
    text: string,
    instance: number,
    which: unknown[],
  ): Promise<ClaimedRow[]> {
    const values = [instance, this.settings.leaseMs, ...which];
    const startedAt = performance.now();
    const { rows } = await send({ name, text, values, rowMode: 'array' });
    if (rows.length === 0 || performance.now() - startedAt < LANE_MARGIN_MS) return rows;
    const yielded = await this.resultPool.query<{ delivery_id: string }>(YIELD, [instance, rows.map(([id]) => id)]);
    const isOthers = new Set(yielded.rows.map(({ delivery_id }) => delivery_id));
    return rows.filter(([id]) => !isOthers.has(id));
  }

  /** Now, in microseconds, or a little earlier; undefined where it is not known yet. */
  private databaseTime(): number | undefined {
    return this.clockOffset === undefined ? undefined : Math.floor(performance.now() * 1_000 + this.clockOffset);
  }

  private notePassed(full: readonly string[]): void {
    if (!this.floor.hasPassedOver) this.passed = NOBODY;
    else if (!this.crowding.every(isIn(this.passed.tenants)) || !full.every(isIn(this.passed.gates))) {
      const { tenants, gates } = this.passed;
      this.passed = { tenants: [...new Set([...tenants, ...this.crowding])], gates: [...new Set([...gates, ...full])] };
    }
  }
}

function claimOf(rows: ClaimedRow[], isFull: boolean): Claim {
  const deliveries = deliveriesOf(rows);
  return {
    deliveries,
    isFull,
    isOfSlowCommits: !isFull && deliveries.some(({ isFirst, waitedMs }) => isFirst && waitedMs > SLOW_COMMIT_MS),
  };
}

/** In the order of their ids: Postgres answers in that of whichever index it went by, and nearly always it is this one. */
function deliveriesOf(rows: ClaimedRow[]): Delivery[] {
  const now = performance.now();
  return rows.sort(([one], [other]) => (isLess(one, other) ? -1 : 1)).map((row) => deliveryOf(row, now));
}

const isIn = (known: readonly string[]) => (one: string) => known.includes(one);

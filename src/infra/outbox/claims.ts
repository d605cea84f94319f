import type pg from 'pg';
import { STATEMENT_TIMEOUT_MS } from '../database/data-source.js';
import type { ProviderGates } from '../gates/provider-gates.service.js';
import { ClaimFloor, isLess, type Place, placeOf } from './claim-floor.js';
import { type ClaimedRow, deliveryOf, lastPlace } from './claimed-row.js';
import { CLAIM, CLAIM_PROBES, FIRST_CLAIMABLE, LANE_MARGIN_MS, YIELD } from './deliveries.queries.js';
import type { Delivery } from './delivery.js';
import { DutyCycle } from './duty-cycle.js';
import type { FairQueue } from './fair-queue.js';

/** Looking from the very front may take this share of the time. */
const DISCOVERY_SHARE = 0.05;
/** What commits late stands at most so far behind the floor: longer than any statement takes. */
const LATEST_COMMIT_US = (STATEMENT_TIMEOUT_MS + 2_000) * 1_000;

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
}

/** Which due rows this process takes next: in line, but past those that there is enough of, or that may not run now. */
export class Claims {
  private readonly floor = new ClaimFloor();
  /** Tenants that the last claim passed over. */
  private crowding: readonly string[] = [];
  /** Whose rows the floor may have passed over. */
  private passed = NOBODY;
  private isBackUnderWay = false;
  private readonly fromFront = new DutyCycle(DISCOVERY_SHARE);
  /** From `performance.now()` in microseconds to the database's clock, or a little less. */
  private clockOffset: number | undefined;

  constructor(
    private readonly pool: pg.Pool,
    private readonly queue: FairQueue,
    private readonly gates: ProviderGates,
    private readonly settings: { leaseMs: number; tenantShare: number },
  ) {}

  /** The claim under way has come back to those whose rows were passed over: what is new of the others waits behind it. */
  get isBack(): boolean {
    return this.isBackUnderWay;
  }

  /** Claims up to `room` rows, and one more for each half-open gate: what waits behind it is its probe. */
  async next(instance: number, room: number): Promise<Claim> {
    const { full, toProbe } = this.gates.narrow(this.queue.heldFor);
    this.crowding = this.queue.crowding(this.settings.tenantShare);
    const from = this.floor.next([...this.crowding, ...full]);
    const sentAt = this.databaseTime();
    this.isBackUnderWay = this.floor.isBack(from);
    const over = { tenants: this.crowding, gates: full };
    const rows = await this.claim(instance, room, over, from).finally(() => {
      this.isBackUnderWay = false;
    });
    const isFull = rows.length === room;
    this.floor.claimed(from, { last: lastPlace(rows), isFull, sentAt });
    this.notePassed(full);
    if (toProbe.length > 0) {
      rows.push(...(await this.query('outbox-claim-probes', CLAIM_PROBES, instance, [toProbe])));
    }
    return { deliveries: deliveriesOf(rows), isFull };
  }

  /** Claims up to `room` rows of those who were never passed over, beside a claim that has come back to the others. */
  async ahead(instance: number, room: number): Promise<Claim> {
    const { passed } = this;
    const { full } = this.gates.narrow(this.queue.heldFor);
    const isNew = !full.every(isIn(passed.gates));
    const sentAt = this.databaseTime();
    const rows = await this.claim(
      instance,
      room,
      { ...passed, gates: isNew ? [...passed.gates, ...full] : passed.gates },
      this.floor.ahead,
    );
    // The other claim may have ended meanwhile, with nobody left who was passed over.
    const isFull = rows.length === room;
    if (!isNew && passed === this.passed) this.floor.claimedAhead({ last: lastPlace(rows), isFull, sentAt });
    return { deliveries: deliveriesOf(rows), isFull };
  }

  /**
   * Looks for what the claims do not see from their floor: late commits, each time; lanes that another process unblocked
   * and leases that ran out, which may stand anywhere, as often as that is cheap.
   * @returns whether there is something to claim
   */
  discover(): Promise<boolean> {
    if (this.fromFront.isDue) return this.fromFront.run(() => this.discoverSince(0));
    return this.discoverSince(this.floor.behind(LATEST_COMMIT_US));
  }

  private async discoverSince(since: number): Promise<boolean> {
    const { passed } = this;
    const { lookedAt, first } = await this.firstClaimable(passed, since);
    // Their own first row: it may stand before the place where the claims will come back to them.
    const ofAnybody = passed === NOBODY ? undefined : (await this.firstClaimable(NOBODY, since)).first;
    // Where claims have changed that meanwhile, the look does not say that there was nothing.
    if (first || passed === this.passed) this.floor.looked(lookedAt, first);
    if (ofAnybody) this.floor.lowerPassedOver(ofAnybody);
    return first !== undefined;
  }

  private async firstClaimable(
    { tenants, gates }: PassedOver,
    since: number,
  ): Promise<{ lookedAt: number; first: Place | undefined }> {
    const { rows } = await this.pool.query<{ looked_at: number; at: number | null; delivery_id: string }>({
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

  private claim(instance: number, room: number, { tenants, gates }: PassedOver, from: Place): Promise<ClaimedRow[]> {
    return this.query('outbox-claim', CLAIM, instance, [room, tenants, gates, from.at, from.id]);
  }

  private async query(name: string, text: string, instance: number, which: unknown[]): Promise<ClaimedRow[]> {
    const values = [instance, this.settings.leaseMs, ...which];
    const startedAt = performance.now();
    const { rows } = await this.pool.query<ClaimedRow>({ name, text, values, rowMode: 'array' });
    if (rows.length === 0 || performance.now() - startedAt < LANE_MARGIN_MS) return rows;
    const yielded = await this.pool.query<{ delivery_id: string }>(YIELD, [instance, rows.map(([id]) => id)]);
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

/** In the order of their ids: Postgres answers in that of whichever index it went by, and nearly always it is this one. */
function deliveriesOf(rows: ClaimedRow[]): Delivery[] {
  const now = performance.now();
  return rows.sort(([one], [other]) => (isLess(one, other) ? -1 : 1)).map((row) => deliveryOf(row, now));
}

const isIn = (known: readonly string[]) => (one: string) => known.includes(one);

import type pg from 'pg';
import { STATEMENT_TIMEOUT_MS } from '../database/data-source.js';
import type { ProviderGates } from '../gates/provider-gates.service.js';
import { ClaimFloor, isLess } from './claim-floor.js';
import { type ClaimedRow, deliveryOf, lastPlace } from './claimed-row.js';
import { CLAIM, CLAIM_PROBES, FIRST_CLAIMABLE } from './deliveries.queries.js';
import type { Delivery } from './delivery.js';
import type { FairQueue } from './fair-queue.js';

/** Looking from the very front may take this share of the time. */
const DISCOVERY_SHARE = 0.05;
/** What commits late stands at most so far behind the floor: longer than any statement takes. */
const LATEST_COMMIT_US = (STATEMENT_TIMEOUT_MS + 2_000) * 1_000;

/** Which due rows this process takes next: in line, but past those that there is enough of, or that may not run now. */
export class Claims {
  private readonly floor = new ClaimFloor();
  /** Tenants that the last claim passed over. */
  private crowding: readonly string[] = [];
  private discoverFrom = 0;
  /** From `performance.now()` in microseconds to the database's clock, or a little less. */
  private clockOffset: number | undefined;

  constructor(
    private readonly pool: pg.Pool,
    private readonly queue: FairQueue,
    private readonly gates: ProviderGates,
    private readonly settings: { leaseMs: number; tenantShare: number },
  ) {}

  /** Claims up to `room` rows, and one more for each half-open gate: what waits behind it is its probe. */
  async next(instance: number, room: number): Promise<{ deliveries: Delivery[]; isFull: boolean }> {
    const { leaseMs, tenantShare } = this.settings;
    const { full, toProbe } = this.gates.narrow(this.queue.heldFor);
    this.crowding = this.queue.crowding(tenantShare);
    const from = this.floor.next([...this.crowding, ...full]);
    const offset = this.clockOffset;
    const sentAt = offset === undefined ? undefined : Math.floor(performance.now() * 1_000 + offset);
    const values = [instance, leaseMs, room, this.crowding, full, from.at, from.id];
    const claim = { name: 'outbox-claim', text: CLAIM, values, rowMode: 'array' as const };
    const { rows } = await this.pool.query<ClaimedRow>(claim);
    const isFull = rows.length === room;
    this.floor.claimed(from, { last: lastPlace(rows), isFull, sentAt });
    if (toProbe.length > 0) {
      const probes = {
        ...claim,
        name: 'outbox-claim-probes',
        text: CLAIM_PROBES,
        values: [instance, leaseMs, toProbe],
      };
      rows.push(...(await this.pool.query<ClaimedRow>(probes)).rows);
    }
    const now = performance.now();
    // Postgres answers in the order of whichever index it went by; nearly always it is this one.
    rows.sort(([one], [other]) => (isLess(one, other) ? -1 : 1));
    return { deliveries: rows.map((row) => deliveryOf(row, now)), isFull };
  }

  /**
   * Looks for what the claims do not see from their floor: late commits, each time; lanes that another process unblocked
   * and leases that ran out, which may stand anywhere, as often as that is cheap.
   * @returns whether there is something to claim
   */
  async discover(): Promise<boolean> {
    const startedAt = performance.now();
    const isFromFront = startedAt >= this.discoverFrom;
    const { rows } = await this.pool.query<{ looked_at: number; at: number | null; delivery_id: string }>({
      name: 'outbox-discovery',
      text: FIRST_CLAIMABLE,
      values: [
        this.crowding,
        this.gates.narrow(this.queue.heldFor).full,
        isFromFront ? 0 : this.floor.behind(LATEST_COMMIT_US),
      ],
    });
    if (isFromFront) this.discoverFrom = performance.now() + (performance.now() - startedAt) / DISCOVERY_SHARE;
    for (const { looked_at: lookedAt, at, delivery_id: id } of rows) {
      this.clockOffset = lookedAt - performance.now() * 1_000;
      this.floor.looked(lookedAt, at === null ? undefined : { at, id });
    }
    return rows.some(({ at }) => at !== null);
  }

  /** Rows that became available then may be claimed from now on; undefined: a moment ago. */
  lookBack(availableSince: number | undefined): void {
    if (availableSince === undefined) this.floor.stepBack();
    else this.floor.lower({ at: availableSince, id: '1' });
  }

  /** Whether a tenant was passed over, of which there is not enough any more. */
  fitsAgain(tenantId: string): boolean {
    return this.crowding.includes(tenantId) && this.queue.heldOf(tenantId) < this.settings.tenantShare / 2;
  }

  /** Nothing is known of the line any more. */
  reset(): void {
    this.floor.reset();
  }
}

import type { PinoLogger } from 'nestjs-pino';
import type pg from 'pg';
import { metrics } from '../../common/metrics/metrics.js';
import { OWNED, RELEASE, RELEASE_ORPHANS, RENEW_LEASES, RESCUE } from './deliveries.queries.js';
import { columnsOf } from './delivery.js';
import { DutyCycle } from './duty-cycle.js';
import type { FairQueue } from './fair-queue.js';
import { LIVENESS_LOCK_CLASS } from './outbox-session.js';

/** Of a lease: for so long it counts as new. */
const FRESH_SHARE = 0.2;
const TIDYING_SHARE = 0.05;

/** Keeps what this process holds, gives back what it owns by mistake, and frees what the dead left behind. */
export class LeaseKeeper {
  /** Owned and not held at the last look, with their fences: a claim or a commit may just be on its way to us. */
  private suspects = new Map<string, number>();
  private readonly tidying = new DutyCycle(TIDYING_SHARE);

  constructor(
    private readonly claimPool: pg.Pool,
    private readonly resultPool: pg.Pool,
    private readonly queue: FairQueue,
    private readonly leaseMs: number,
    private readonly logger: PinoLogger,
  ) {}

  /** @returns whether there is something to claim now */
  async rescue(instance: number): Promise<boolean> {
    const { rowCount } = await this.resultPool.query({
      name: 'outbox-rescue',
      text: RESCUE,
      values: [LIVENESS_LOCK_CLASS, instance],
    });
    if (!rowCount) return false;
    metrics.add('outbox_rescues_total', rowCount);
    this.logger.warn({ rows: rowCount }, 'took deliveries over from a dead process');
    return true;
  }

  /** Of what is held for longer: a lease that is still nearly whole need not be. */
  async renew(instance: number): Promise<void> {
    const heldLonger = performance.now() - this.leaseMs * FRESH_SHARE;
    const ageing = this.queue.held.filter(({ heldSince }) => heldSince <= heldLonger);
    if (ageing.length === 0) return;
    await this.claimPool.query(RENEW_LEASES, [instance, ...columnsOf(ageing), this.leaseMs]);
  }

  /**
   * Frees what is owned by mistake, which the end of its lease would do later. Reads all that is due, so not for more than a
   * share of the time.
   * @returns whether there is something to claim now
   */
  async tidy(instance: number): Promise<boolean> {
    if (!this.tidying.isDue) return false;
    return this.tidying.run(async () => {
      const strays = await this.releaseStrays(instance);
      const { rowCount: orphans } = await this.resultPool.query(RELEASE_ORPHANS);
      return strays > 0 || (orphans ?? 0) > 0;
    });
  }

  /** What is owned and not held at two looks in a row: commits whose outcome was unknown, results nobody could write. */
  private async releaseStrays(instance: number): Promise<number> {
    const held = new Set(this.queue.held.map(({ deliveryId }) => deliveryId));
    const { rows } = await this.claimPool.query<{ delivery_id: string; fence: number }>(OWNED, [instance]);
    for (const { deliveryId } of this.queue.held) held.add(deliveryId);
    const unheld = rows.filter((row) => !held.has(row.delivery_id));
    const strays = unheld.filter((row) => this.suspects.get(row.delivery_id) === row.fence);
    this.suspects = new Map(unheld.map((row) => [row.delivery_id, row.fence]));
    if (strays.length === 0) return 0;
    const { rowCount } = await this.resultPool.query(RELEASE, [
      instance,
      strays.map((row) => row.delivery_id),
      strays.map((row) => row.fence),
    ]);
    return rowCount ?? 0;
  }
}

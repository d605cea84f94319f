import type { PinoLogger } from 'nestjs-pino';
import type pg from 'pg';
import { metrics } from '../../common/metrics/metrics.js';
import { RELEASE, RELEASE_ORPHANS, RENEW_LEASES, RESCUE, STRAYS } from './deliveries.queries.js';
import type { FairQueue } from './fair-queue.js';
import { LIVENESS_LOCK_CLASS } from './outbox-session.js';

/** Keeps what this process holds, gives back what it owns by mistake, and frees what the dead left behind. */
export class LeaseKeeper {
  /** Owned and not held at the last look, with their fences: a claim or a commit may just be on its way to us. */
  private suspects = new Map<string, number>();

  constructor(
    private readonly pool: pg.Pool,
    private readonly queue: FairQueue,
    private readonly leaseMs: number,
    private readonly logger: PinoLogger,
  ) {}

  /** @returns whether there is something to claim now */
  async rescue(instance: number): Promise<boolean> {
    const { rowCount } = await this.pool.query({
      name: 'outbox-rescue',
      text: RESCUE,
      values: [LIVENESS_LOCK_CLASS, instance],
    });
    if (!rowCount) return false;
    metrics.add('outbox_rescues_total', rowCount);
    this.logger.warn({ rows: rowCount }, 'took deliveries over from a dead process');
    return true;
  }

  /** @returns whether there is something to claim now */
  async renew(instance: number): Promise<boolean> {
    const held = this.queue.held;
    const ids = held.map(({ deliveryId }) => deliveryId);
    const fences = held.map(({ fence }) => fence);
    if (held.length > 0) await this.pool.query(RENEW_LEASES, [instance, ids, fences, this.leaseMs]);
    const strays = await this.releaseStrays(instance, ids);
    const { rowCount: orphans } = await this.pool.query(RELEASE_ORPHANS);
    return strays > 0 || (orphans ?? 0) > 0;
  }

  /** What is owned and not held at two looks in a row: commits whose outcome was unknown, results nobody could write. */
  private async releaseStrays(instance: number, heldIds: string[]): Promise<number> {
    const { rows } = await this.pool.query<{ delivery_id: string; fence: number }>(STRAYS, [instance, heldIds]);
    const arrived = new Set(this.queue.held.map(({ deliveryId }) => deliveryId));
    const unheld = rows.filter((row) => !arrived.has(row.delivery_id));
    const strays = unheld.filter((row) => this.suspects.get(row.delivery_id) === row.fence);
    this.suspects = new Map(unheld.map((row) => [row.delivery_id, row.fence]));
    if (strays.length === 0) return 0;
    const { rowCount } = await this.pool.query(RELEASE, [
      instance,
      strays.map((row) => row.delivery_id),
      strays.map((row) => row.fence),
    ]);
    return rowCount ?? 0;
  }
}

import { type Delivery, laneOf } from './delivery.js';

/**
 * Stands for all rows that may have brought a process down twice. They run one at a time, to tell which one does, and
 * the least suspected first: whatever ends processes from outside hits each of them rarely, a killer is hit every time.
 */
const SUSPECTS = 'suspects';

/**
 * What this process holds, and the order in which it is started: tenants take turns, so that one tenant's flood
 * costs another at most one turn, and a lane never has two rows running at once.
 */
export class FairQueue {
  private readonly tenants = new Map<string, Delivery[]>();
  private readonly busy = new Set<string>();
  private readonly holding = new Set<Delivery>();
  private readonly heldByTenant = new Map<string, number>();

  /** Rows held and not yet released, running ones included. */
  get size(): number {
    return this.holding.size;
  }

  get held(): readonly Delivery[] {
    return [...this.holding];
  }

  heldOf(tenantId: string): number {
    return this.heldByTenant.get(tenantId) ?? 0;
  }

  /** Tenants of which at least `share` rows are held. */
  crowding(share: number): string[] {
    return [...this.heldByTenant].filter(([, count]) => count >= share).map(([tenantId]) => tenantId);
  }

  push(delivery: Delivery): void {
    const { tenantId } = delivery.event;
    this.holding.add(delivery);
    this.heldByTenant.set(tenantId, this.heldOf(tenantId) + 1);
    const rows = this.tenants.get(tenantId);
    if (rows) rows.push(delivery);
    else this.tenants.set(tenantId, [delivery]);
  }

  /** The next row of the tenant whose turn it is, from a lane that is free; marks the lane busy. */
  take(): Delivery | undefined {
    for (const rows of this.tenants.values()) {
      const next = rows.find((delivery) => this.isFree(delivery));
      if (next) return this.start(next.started > 0 ? this.leastSuspected(next) : next);
    }
    return undefined;
  }

  /** A row that was taken is no longer ours: finished, given back or lost. */
  release(delivery: Delivery): void {
    this.forget(delivery);
    for (const key of keysOf(delivery)) this.busy.delete(key);
  }

  /** Takes out and answers what has not started and does not satisfy `keep`; without it, everything. */
  drain(keep: (delivery: Delivery) => boolean = () => false): Delivery[] {
    const out: Delivery[] = [];
    for (const [tenant, rows] of [...this.tenants]) {
      const kept = rows.filter(keep);
      out.push(...rows.filter((delivery) => !kept.includes(delivery)));
      if (kept.length > 0) this.tenants.set(tenant, kept);
      else this.tenants.delete(tenant);
    }
    for (const delivery of out) this.forget(delivery);
    return out;
  }

  private isFree(delivery: Delivery): boolean {
    return !keysOf(delivery).some((key) => this.busy.has(key));
  }

  private leastSuspected(suspect: Delivery): Delivery {
    let least = suspect;
    const passed = new Set<string>();
    for (const delivery of [...this.tenants.values()].flat()) {
      const lane = laneOf(delivery);
      // Only the first of a lane may run.
      if (passed.has(lane)) continue;
      passed.add(lane);
      if (delivery.started > 0 && delivery.started < least.started && this.isFree(delivery)) least = delivery;
    }
    return least;
  }

  private start(delivery: Delivery): Delivery {
    const { tenantId } = delivery.event;
    const rest = (this.tenants.get(tenantId) ?? []).filter((other) => other !== delivery);
    // To the back of the line: a Map iterates in insertion order.
    this.tenants.delete(tenantId);
    if (rest.length > 0) this.tenants.set(tenantId, rest);
    for (const key of keysOf(delivery)) this.busy.add(key);
    return delivery;
  }

  private forget(delivery: Delivery): void {
    if (!this.holding.delete(delivery)) return;
    const { tenantId } = delivery.event;
    const left = this.heldOf(tenantId) - 1;
    if (left > 0) this.heldByTenant.set(tenantId, left);
    else this.heldByTenant.delete(tenantId);
  }
}

function keysOf(delivery: Delivery): string[] {
  return delivery.started > 0 ? [laneOf(delivery), SUSPECTS] : [laneOf(delivery)];
}

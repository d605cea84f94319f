import { type Delivery, laneOf } from './delivery.js';

/**
 * What this process holds and has not started, dealt out fairly: tenants take turns, so that one tenant's flood
 * costs another at most one turn, and a lane never has two rows running at once.
 */
export class FairQueue {
  private readonly tenants = new Map<string, Delivery[]>();
  private readonly busyLanes = new Set<string>();
  private readonly held = new Map<string, Delivery>();

  /** Rows held and not yet released, running ones included. */
  get size(): number {
    return this.held.size;
  }

  heldIds(): string[] {
    return [...this.held.keys()];
  }

  push(delivery: Delivery): void {
    this.held.set(delivery.deliveryId, delivery);
    const tenant = delivery.event.tenantId;
    const rows = this.tenants.get(tenant);
    if (rows) rows.push(delivery);
    else this.tenants.set(tenant, [delivery]);
  }

  /** The next row of the tenant whose turn it is, from a lane that is free; marks the lane busy. */
  take(): Delivery | undefined {
    for (const [tenant, rows] of this.tenants) {
      const index = rows.findIndex((delivery) => !this.busyLanes.has(laneOf(delivery)));
      if (index < 0) continue;
      const [delivery] = rows.splice(index, 1);
      if (!delivery) continue;
      // To the back of the line: a Map iterates in insertion order.
      this.tenants.delete(tenant);
      if (rows.length > 0) this.tenants.set(tenant, rows);
      this.busyLanes.add(laneOf(delivery));
      return delivery;
    }
    return undefined;
  }

  /** The row is no longer ours: finished, given back or lost. */
  release(delivery: Delivery): void {
    this.held.delete(delivery.deliveryId);
    this.busyLanes.delete(laneOf(delivery));
  }

  /** Empties the queue and answers what had not started. */
  drain(): Delivery[] {
    const unstarted = [...this.tenants.values()].flat();
    for (const delivery of unstarted) this.held.delete(delivery.deliveryId);
    this.tenants.clear();
    return unstarted;
  }
}

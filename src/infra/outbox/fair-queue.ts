import type { Delivery } from './delivery.js';

/** Runs that began and never ended, each with the end of its process: from here on a row is a suspect. */
const SUSPECT_AFTER_STARTS = 2;
/** A suspect runs when nothing else does, and after so long everything else waits for it. */
const SUSPECT_PATIENCE_MS = 2_000;

/**
 * What this process holds, and the order in which it is started: tenants take turns, so that one tenant's flood
 * costs another at most one turn, and a lane never has two rows running at once. Rows that may have brought processes
 * down are kept apart, to be run alone: whatever ends processes from outside hits such a run rarely, a killer each time.
 */
export class FairQueue {
  private readonly tenants = new Map<string, Delivery[]>();
  private suspects: Delivery[] = [];
  private readonly busy = new Set<string>();
  private readonly holding = new Set<Delivery>();
  private readonly heldByTenant = new Map<string, number>();
  private readonly heldByGate = new Map<string, number>();
  private readonly runningByGate = new Map<string, number>();

  /** Rows held for a gate, running ones included. */
  readonly heldFor = (gate: string): number => this.heldByGate.get(gate) ?? 0;

  /** @param slots how many rows behind a gate may run at once */
  constructor(private readonly slots: (gate: string) => number = () => Number.POSITIVE_INFINITY) {}

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
    count(this.heldByTenant, tenantId, 1);
    count(this.heldByGate, delivery.gate, 1);
    const rows = this.tenants.get(tenantId);
    if (delivery.started >= SUSPECT_AFTER_STARTS) this.suspects.push(delivery);
    else if (rows) rows.push(delivery);
    else this.tenants.set(tenantId, [delivery]);
  }

  /** The next row of the tenant whose turn it is, from a lane that is free; marks the lane busy. */
  take(): Delivery | undefined {
    for (const [tenant, rows] of this.tenants) {
      const [first] = rows;
      const delivery = first && this.mayStart(first) ? rows.shift() : this.takeLater(rows);
      if (!delivery) continue;
      // To the back of the line: a Map iterates in insertion order.
      this.tenants.delete(tenant);
      if (rows.length > 0) this.tenants.set(tenant, rows);
      this.start(delivery);
      return delivery;
    }
    return undefined;
  }

  /** The least suspected of the suspects; it must run alone. */
  takeSuspect(): Delivery | undefined {
    const [least] = this.suspects
      .filter((suspect) => this.isFree(suspect))
      .toSorted((one, other) => one.started - other.started);
    if (!least) return undefined;
    this.suspects = this.suspects.filter((suspect) => suspect !== least);
    this.start(least);
    return least;
  }

  hasOverdueSuspect(now: number): boolean {
    return this.suspects.some((suspect) => now - suspect.heldSince > SUSPECT_PATIENCE_MS && this.hasSlot(suspect));
  }

  /** A row that was taken is no longer ours: finished, given back or lost. */
  release(delivery: Delivery): void {
    this.forget(delivery);
    this.busy.delete(delivery.lane);
    count(this.runningByGate, delivery.gate, -1);
  }

  /** Takes out and answers what has not started and does not satisfy `keep`; without it, everything. */
  drain(keep: (delivery: Delivery) => boolean = () => false): Delivery[] {
    const out = this.suspects.filter((suspect) => !keep(suspect));
    this.suspects = this.suspects.filter((suspect) => !out.includes(suspect));
    for (const [tenant, rows] of [...this.tenants]) {
      const kept = rows.filter(keep);
      out.push(...rows.filter((delivery) => !kept.includes(delivery)));
      if (kept.length > 0) this.tenants.set(tenant, kept);
      else this.tenants.delete(tenant);
    }
    for (const delivery of out) this.forget(delivery);
    return out;
  }

  private takeLater(rows: Delivery[]): Delivery | undefined {
    const index = rows.findIndex((delivery) => this.mayStart(delivery));
    return index < 0 ? undefined : rows.splice(index, 1)[0];
  }

  private mayStart(delivery: Delivery): boolean {
    return this.isFree(delivery) && !this.isSuspected(delivery.lane);
  }

  private isSuspected(lane: string): boolean {
    return this.suspects.length > 0 && this.suspects.some((suspect) => suspect.lane === lane);
  }

  /**
   * Whether any of these gates lets no more rows through than are held for it already. A single one is not for a new
   * row: it is the probe of a half-open gate, and others have waited longer.
   */
  isShut(gates: readonly (string | undefined)[]): boolean {
    return gates.some((gate) => gate !== undefined && this.slots(gate) <= Math.max(1, this.heldFor(gate)));
  }

  private isFree(delivery: Delivery): boolean {
    return !this.busy.has(delivery.lane) && this.hasSlot(delivery);
  }

  private hasSlot({ gate }: Delivery): boolean {
    return gate === undefined || (this.runningByGate.get(gate) ?? 0) < this.slots(gate);
  }

  private start(delivery: Delivery): void {
    this.busy.add(delivery.lane);
    count(this.runningByGate, delivery.gate, 1);
  }

  private forget(delivery: Delivery): void {
    if (!this.holding.delete(delivery)) return;
    count(this.heldByTenant, delivery.event.tenantId, -1);
    count(this.heldByGate, delivery.gate, -1);
  }
}

/** Keys at zero are gone: tenants and accounts come and go. */
function count(counts: Map<string, number>, key: string | undefined, change: number): void {
  if (key === undefined) return;
  const next = (counts.get(key) ?? 0) + change;
  if (next > 0) counts.set(key, next);
  else counts.delete(key);
}

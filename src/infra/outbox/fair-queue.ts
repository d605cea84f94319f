import { Bag } from './bag.js';
import type { Delivery } from './delivery.js';
import { Keyed } from './keyed.js';

/** Runs that began and never ended, each with the end of its process: from here on a row is a suspect. */
const SUSPECT_AFTER_STARTS = 2;
/** A suspect runs when nothing else does, and after so long everything else waits for it. */
const SUSPECT_PATIENCE_MS = 2_000;

interface Tenant {
  readonly id: string;
  held: number;
  /** Not started, first ones first; suspects are elsewhere. */
  waiting: Held[];
}

interface Lane {
  held: number;
  isBusy: boolean;
}

const TENANT = Symbol('the tenant of what is held');
const LANE = Symbol('the lane of what is held');
const IS_OPEN = Symbol('whether the handler of what is held is not over');
/** With what would be looked up again at each step. */
type Held = Delivery & { [TENANT]: Tenant; [LANE]: Lane; [IS_OPEN]: boolean };

/**
 * What this process holds, and the order in which it is started: tenants take turns, so that one tenant's flood
 * costs another at most one turn, and a lane never has two rows running at once. Rows that may have brought processes
 * down are kept apart, to be run alone: whatever ends processes from outside hits such a run rarely, a killer each time.
 */
export class FairQueue {
  private readonly tenants = new Keyed<Tenant>(
    (id) => ({ id, held: 0, waiting: [] }),
    ({ held }) => held === 0,
  );
  /** Those of which something waits, in the order of their turns. */
  private turns: Tenant[] = [];
  private suspects: Held[] = [];
  private readonly lanes = new Keyed<Lane>(
    () => ({ held: 0, isBusy: false }),
    ({ held }) => held === 0,
  );
  private readonly gates = new Keyed(
    () => ({ held: 0, running: 0 }),
    ({ held, running }) => held === 0 && running === 0,
  );
  private readonly holding = new Bag<Held>();
  private open = 0;

  /** Rows held for a gate, running ones included. */
  readonly heldFor = (gate: string): number => this.gates.find(gate)?.held ?? 0;

  /** @param slots how many rows behind a gate may run at once */
  constructor(private readonly slots: (gate: string) => number = () => Number.POSITIVE_INFINITY) {}

  /** Rows whose handlers are not over: those that wait and those that run. */
  get size(): number {
    return this.open;
  }

  /**
   * For how many more rows there is room: `capacity` may wait or run, and no more than twice as many be held. Results that
   * cannot be written must not let more and more be run.
   */
  roomWithin(capacity: number): number {
    return Math.min(capacity - this.open, 2 * capacity - this.holding.size);
  }

  get held(): readonly Delivery[] {
    return this.holding.all;
  }

  heldOf(tenantId: string): number {
    return this.tenants.find(tenantId)?.held ?? 0;
  }

  /** Tenants of which at least `share` rows are held. */
  crowding(share: number): string[] {
    return [...this.tenants].filter(({ held }) => held >= share).map(({ id }) => id);
  }

  push(delivery: Delivery): void {
    const held = delivery as Held;
    const tenant = this.tenants.of(delivery.event.tenantId);
    const lane = this.lanes.of(delivery.lane);
    held[TENANT] = tenant;
    held[LANE] = lane;
    held[IS_OPEN] = true;
    this.holding.add(held);
    this.open++;
    tenant.held++;
    lane.held++;
    if (delivery.gate) this.gates.of(delivery.gate).held++;
    if (delivery.started >= SUSPECT_AFTER_STARTS) this.suspects.push(held);
    else if (tenant.waiting.push(held) === 1) this.turns.push(tenant);
  }

  /** The next row of the tenant whose turn it is, from a lane that is free; marks the lane busy. */
  take(): Delivery | undefined {
    for (let turn = 0; turn < this.turns.length; turn++) {
      const tenant = this.turns[turn] as Tenant;
      const rows = tenant.waiting;
      const [first] = rows;
      const delivery = first && this.mayStart(first) ? rows.shift() : this.takeLater(rows);
      if (!delivery) continue;
      // To the back of the line.
      this.turns.splice(turn, 1);
      if (rows.length > 0) this.turns.push(tenant);
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

  /** The handler of a row that was taken is over: there is room for another one, though not yet in its lane or its share. */
  finish(delivery: Delivery): void {
    const held = delivery as Held;
    if (!held[IS_OPEN]) return;
    held[IS_OPEN] = false;
    this.open--;
  }

  /** A row that was taken is no longer ours: finished, given back or lost. */
  release(delivery: Delivery): void {
    const held = delivery as Held;
    this.forget(held);
    held[LANE].isBusy = false;
    if (delivery.gate) {
      const gate = this.gates.of(delivery.gate);
      gate.running = Math.max(0, gate.running - 1);
    }
  }

  /** Takes out and answers what has not started and does not satisfy `keep`; without it, everything. */
  drain(keep: (delivery: Delivery) => boolean = () => false): Delivery[] {
    const out: Held[] = this.suspects.filter((suspect) => !keep(suspect));
    this.suspects = this.suspects.filter((suspect) => !out.includes(suspect));
    for (const tenant of this.turns) {
      const kept = tenant.waiting.filter(keep);
      out.push(...tenant.waiting.filter((delivery) => !kept.includes(delivery)));
      tenant.waiting = kept;
    }
    this.turns = this.turns.filter(({ waiting }) => waiting.length > 0);
    for (const delivery of out) this.forget(delivery);
    return out;
  }

  private takeLater(rows: Held[]): Held | undefined {
    const index = rows.findIndex((delivery) => this.mayStart(delivery));
    return index < 0 ? undefined : rows.splice(index, 1)[0];
  }

  private mayStart(delivery: Held): boolean {
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

  private isFree(delivery: Held): boolean {
    return !delivery[LANE].isBusy && this.hasSlot(delivery);
  }

  private hasSlot({ gate }: Delivery): boolean {
    return gate === undefined || (this.gates.find(gate)?.running ?? 0) < this.slots(gate);
  }

  private start(delivery: Held): void {
    delivery[LANE].isBusy = true;
    if (delivery.gate) this.gates.of(delivery.gate).running++;
  }

  private forget(delivery: Held): void {
    if (!this.holding.delete(delivery)) return;
    this.finish(delivery);
    delivery[TENANT].held--;
    delivery[LANE].held--;
    if (delivery.gate) this.gates.of(delivery.gate).held--;
  }
}

import type { Before, Held, TableRow } from './delivery-sql.js';

interface ModelRow extends TableRow {
  /** When it became available: rows of one moment are told apart by their ids. */
  since: number;
}

/** A process: what it believes to hold is its own memory, right or wrong. */
export interface ModelProcess {
  instance: number;
  isAlive: boolean;
  held: Held[];
}

/** The table of deliveries as it should behave, small enough to be seen right. */
export class OutboxModel {
  readonly rows = new Map<string, ModelRow>();
  readonly done: string[] = [];
  readonly dead: string[] = [];
  /** By the name that the commands call it. */
  readonly processes = new Map<number, ModelProcess>();
  /** Whose liveness is on record. */
  readonly registered = new Set<number>();
  private moment = 0;
  /** Rows as they were before claims that are not on disk yet, the last one first. */
  private beforeClaims: Before[] = [];

  /** Whether a row that is published now goes to its own writer at once. */
  isFree(lane: string): boolean {
    return ![...this.rows.values()].some((row) => row.lane === lane);
  }

  publish(id: string, lane: string, owner: number | null, isLater: boolean): void {
    const since = ++this.moment;
    const leased = { owner, isLeased: owner !== null, isAvailable: !isLater, isDue: !isLater };
    this.rows.set(id, { id, lane, fence: 0, rescued: 0, finished: 0, since, ...leased });
  }

  /** Who may be claimed, first things first. */
  claimable(): ModelRow[] {
    const isHead = (row: ModelRow) =>
      [...this.rows.values()].every((other) => other.lane !== row.lane || !other.isDue || !older(other, row));
    const isBesideNobody = (row: ModelRow) =>
      [...this.rows.values()].every((other) => other.lane !== row.lane || !older(row, other) || !other.isLeased);
    return [...this.rows.values()]
      .filter((row) => row.isAvailable && !row.isLeased && row.isDue && isHead(row) && isBesideNobody(row))
      .sort((one, other) => one.since - other.since || Number(BigInt(one.id) - BigInt(other.id)));
  }

  claim(owner: number, limit: number): Held[] {
    const claimed = this.claimable().slice(0, limit);
    this.beforeClaims.unshift(...claimed.map(({ id, fence, owner: before }) => ({ id, fence, owner: before })));
    for (const row of claimed) Object.assign(row, { owner, fence: row.fence + 1, isLeased: true });
    return claimed.map(({ id, fence }) => ({ id, fence })).sort(byId);
  }

  /** Whatever waits for the disk takes along what was written before. */
  flush(): void {
    this.beforeClaims = [];
  }

  /** A crash of the server: what was not on disk has not been. */
  forget(): Before[] {
    const forgotten = this.beforeClaims;
    for (const { id, ...before } of forgotten) Object.assign(this.rows.get(id) ?? {}, { ...before, isLeased: false });
    this.flush();
    return forgotten;
  }

  /** The row that a holder may still write to: also after the server forgot that it holds it, until somebody else does. */
  private stillHeld({ id, fence }: Held): ModelRow | undefined {
    const row = this.rows.get(id);
    return row && (row.fence === fence || (row.fence < fence && !row.isLeased)) ? row : undefined;
  }

  private fenced(held: Held): ModelRow | undefined {
    const row = this.stillHeld(held);
    return row?.fence === held.fence ? row : undefined;
  }

  private isLaneFreeFor(row: ModelRow): boolean {
    return [...this.rows.values()].every((other) => other.lane !== row.lane || other === row || other.owner === null);
  }

  leave(held: Held, where: 'done' | 'dead'): boolean {
    if (!this.stillHeld(held)) return false;
    this.rows.delete(held.id);
    this[where].push(held.id);
    return true;
  }

  reschedule(held: Held, isLater: boolean, attempts: number): boolean {
    const row = this.stillHeld(held);
    if (!row) return false;
    row.fence = held.fence;
    this.free([row]);
    row.finished += attempts;
    row.isAvailable = !isLater;
    return true;
  }

  renew(owner: number, held: readonly Held[]): void {
    for (const one of held) {
      const row = this.fenced(one);
      if (row?.owner === owner && (row.isLeased || this.isLaneFreeFor(row))) row.isLeased = true;
    }
  }

  release(owner: number, held: readonly Held[]): void {
    this.free(held.flatMap((one) => this.fenced(one) ?? []).filter((row) => row.owner === owner));
  }

  owned(owner: number): string[] {
    return this.ownedBy((one) => one === owner).map(({ id }) => id);
  }

  rescue(by: number): void {
    const alive = [...this.processes.values()].filter(({ isAlive }) => isAlive).map(({ instance }) => instance);
    const dead = [...this.registered].filter((instance) => instance !== by && !alive.includes(instance));
    this.takeOver(this.ownedBy((owner) => dead.includes(owner)));
    for (const instance of dead) this.registered.delete(instance);
  }

  releaseOrphans(): void {
    this.takeOver(this.ownedBy((owner) => !this.registered.has(owner)));
  }

  adopt(former: number, instance: number, held: readonly Held[]): Held[] {
    const last = [
      ...new Map([...held].sort((one, other) => one.fence - other.fence).map((one) => [one.id, one])).values(),
    ];
    const adopted = last.filter((one) => {
      const row = this.stillHeld(one);
      if (!row || (row.fence === one.fence && row.owner !== former)) return false;
      return row.isLeased || this.isLaneFreeFor(row);
    });
    for (const { id, fence } of adopted)
      Object.assign(this.rows.get(id) ?? {}, { owner: instance, fence, isLeased: true });
    this.free(this.ownedBy((owner) => owner === former));
    this.registered.delete(former);
    return adopted.map(({ id, fence }) => ({ id, fence })).sort(byId);
  }

  expire(owner: number): void {
    for (const row of this.ownedBy((one) => one === owner)) row.isLeased = false;
  }

  ripen(): void {
    const since = ++this.moment;
    for (const row of this.rows.values())
      if (!row.isAvailable) Object.assign(row, { isAvailable: true, isDue: true, since });
  }

  table(): TableRow[] {
    return [...this.rows.values()].sort(byId).map(({ since: _since, ...row }) => row);
  }

  private ownedBy(which: (owner: number) => boolean): ModelRow[] {
    return [...this.rows.values()].filter(({ owner }) => owner !== null && which(owner)).sort(byId);
  }

  private takeOver(rows: readonly ModelRow[]): void {
    this.free(rows);
    for (const row of rows) row.rescued += 1;
  }

  private free(rows: readonly ModelRow[]): void {
    const since = ++this.moment;
    for (const row of rows)
      Object.assign(row, { owner: null, fence: row.fence + 1, isLeased: false, isAvailable: true, since });
  }
}

export function byId(one: { id: string }, other: { id: string }): number {
  return Number(BigInt(one.id) - BigInt(other.id));
}

function older(one: { id: string }, other: { id: string }): boolean {
  return BigInt(one.id) < BigInt(other.id);
}

/** A place in the line of due rows: since when a row has been available (microseconds), and its id. */
export interface Place {
  at: number;
  id: string;
}

/** What a claim came to. */
export interface Claimed {
  /** The last row in line that it took, if any. */
  last: Place | undefined;
  /** It took as many as it could. */
  isFull: boolean;
  /** When it was sent, in microseconds; undefined when that is not known on the database's clock. */
  sentAt?: number | undefined;
}

const START: Place = { at: 0, id: '0' };
/** Rows are seen when their transaction commits: one that got its time earlier can come later, by about so much. */
const LATE_COMMIT_US = 100_000;
const A_MOMENT_US = 1_000_000;

/**
 * Where claims begin in the line. What is finished leaves dead entries at the front, and as long as anybody holds an old
 * snapshot they stay: a claim that began at the front would read them all. Only an accelerator: what turns out to be
 * claimable behind the floor lowers it again, and that is looked for twice a second.
 */
export class ClaimFloor {
  private floor = START;
  /** Furthest that the floor has been, in microseconds. */
  private furthest = 0;
  /** Where rows of crowding tenants may begin, passed over by claims that have gone on since. */
  private passedOver: Place | undefined;
  private crowding: readonly string[] = [];

  /** Where the next claim begins; `crowding` are the tenants it will pass over. */
  next(crowding: readonly string[]): Place {
    const isOneBack = this.crowding.some((tenant) => !crowding.includes(tenant));
    this.crowding = crowding;
    return this.passedOver && (isOneBack || crowding.length === 0) ? this.passedOver : this.floor;
  }

  /** Whether rows of some who crowded still wait where claims have gone on since: a claim without them will see to those. */
  get hasPassedOver(): boolean {
    return this.passedOver !== undefined;
  }

  /** Where a claim begins that passes over all of those, beside one that has come back to them. */
  get ahead(): Place {
    return this.floor;
  }

  /** Whether a claim that begins there has come back to rows that were passed over. */
  isBack(from: Place): boolean {
    return from === this.passedOver;
  }

  /** So many microseconds behind it. */
  behind(distance: number): number {
    return Math.max(0, this.floor.at - distance);
  }

  /** Takes in what the claim that began at `from` found. */
  claimed(from: Place, claimed: Claimed): void {
    const isCrowded = this.crowding.length > 0;
    if (this.isBack(from)) {
      if (!isCrowded) this.passedOver = claimed.isFull ? claimed.last : undefined;
      return;
    }
    if (isCrowded) this.passedOver ??= from;
    if (claimed.last || isCrowded) this.claimedAhead(claimed);
  }

  /** Takes in what a claim found that began ahead and passed over everybody whose rows were passed over before. */
  claimedAhead({ last, isFull, sentAt }: Claimed): void {
    if (last) this.raise(isFull ? last : { at: last.at - LATE_COMMIT_US, id: '0' });
    // All that is there is of those who crowd: the next claim without them need not read it again.
    else if (sentAt !== undefined) this.looked(sentAt, undefined);
  }

  /** Takes in where, at `lookedAt` (microseconds), the first claimable row was; undefined: there was none. */
  looked(lookedAt: number, first: Place | undefined): void {
    if (first) this.lower(first);
    else this.raise({ at: lookedAt - LATE_COMMIT_US, id: '0' });
  }

  /** The row at this place, and whatever stands behind it, may be claimed from now on. */
  lower(place: Place): void {
    const before = justBefore(place);
    if (isBefore(before, this.floor)) this.floor = before;
  }

  /** The same, of a row of one who crowded. */
  lowerPassedOver(place: Place): void {
    const before = justBefore(place);
    if (!this.passedOver) this.lower(place);
    else if (isBefore(before, this.passedOver)) this.passedOver = before;
  }

  /** What became available a moment ago may be claimed from now on. */
  stepBack(): void {
    this.lower({ at: Math.max(0, this.furthest - A_MOMENT_US), id: '1' });
  }

  /** Nothing is known any more. */
  reset(): void {
    this.floor = START;
    this.passedOver = undefined;
  }

  private raise(place: Place): void {
    if (isBefore(this.floor, place)) this.floor = place;
    this.furthest = Math.max(this.furthest, this.floor.at);
  }
}

/** Of a query that found a row, or none. */
export function placeOf(at: number | null, id: string): Place | undefined {
  return at === null ? undefined : { at, id };
}

function justBefore({ at, id }: Place): Place {
  return { at, id: String(BigInt(id) - 1n) };
}

export function isBefore(one: Place, other: Place): boolean {
  return one.at < other.at || (one.at === other.at && isLess(one.id, other.id));
}

/** Of whole numbers as text, without leading zeros. */
export function isLess(one: string, other: string): boolean {
  return one.length === other.length ? one < other : one.length < other.length;
}

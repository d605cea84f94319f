/** A place in the line of due rows: since when a row has been available (microseconds), and its id. */
export interface Place {
  at: number;
  id: string;
}

/** A look at the line that is under way: a claim, or one that only looks. */
export interface Look {
  /** Where it begins. */
  readonly from: Place;
  /** It passes over some tenants or gates. */
  readonly isCrowded: boolean;
  /** It has come back to rows that were passed over. */
  readonly isBack: boolean;
  /** The first row of anybody's, and of those that are passed over, that became claimable since: it may not have seen it. */
  lowest?: Place;
  lowestPassedOver?: Place;
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
  private readonly looks = new Set<Look>();

  /** Begins a claim; `crowding` are the tenants and gates that it passes over. */
  next(crowding: readonly string[]): Look {
    const isOneBack = this.crowding.some((one) => !crowding.includes(one));
    this.crowding = crowding;
    const isCrowded = crowding.length > 0;
    const { passedOver } = this;
    return passedOver && (isOneBack || !isCrowded)
      ? this.begin({ from: passedOver, isCrowded, isBack: true })
      : this.begin({ from: this.floor, isCrowded, isBack: false });
  }

  /** Begins a claim that passes over all of those who were passed over before, beside one that has come back to them. */
  ahead(): Look {
    return this.begin({ from: this.floor, isCrowded: true, isBack: false });
  }

  /** Begins one that only looks, so many microseconds behind the floor. */
  behind(distance: number): Look {
    const from = { at: Math.max(0, this.floor.at - distance), id: '0' };
    return this.begin({ from, isCrowded: false, isBack: false });
  }

  /** Whether rows of some who crowded still wait where claims have gone on since: a claim without them will see to those. */
  get hasPassedOver(): boolean {
    return this.passedOver !== undefined;
  }

  /** Takes in what a claim found. */
  claimed(look: Look, { last, isFull, sentAt }: Claimed): void {
    if (!this.looks.has(look)) return;
    if (!look.isBack) {
      if (look.isCrowded) this.passedOver ??= look.from;
      if (last) this.raise(isFull ? last : { at: last.at - LATE_COMMIT_US, id: '0' });
      // All that is there is of those who crowd: the next claim without them need not read it again.
      else if (look.isCrowded && sentAt !== undefined) this.raise({ at: sentAt - LATE_COMMIT_US, id: '0' });
    } else if (!look.isCrowded) this.passedOver = isFull ? last : undefined;
    this.end(look);
  }

  /** Takes in where a look, at `lookedAt` (microseconds), saw the first claimable row; undefined: there was none. */
  looked(look: Look, lookedAt: number, first: Place | undefined): void {
    if (!this.looks.has(look)) return;
    if (first) this.lower(first);
    else this.raise({ at: lookedAt - LATE_COMMIT_US, id: '0' });
    this.end(look);
  }

  /** Ends a look of which nothing is known, or that says nothing any more. */
  end(look: Look): void {
    if (!this.looks.delete(look)) return;
    if (look.lowest) this.goBackTo(look.lowest);
    if (look.lowestPassedOver) this.goBackToPassedOver(look.lowestPassedOver);
  }

  /** The row at this place, and whatever stands behind it, may be claimed from now on. */
  lower(place: Place): void {
    this.goBackTo(place);
    for (const look of this.looks) look.lowest = firstOf(look.lowest, place);
  }

  /** The same, of a row of one who crowded. */
  lowerPassedOver(place: Place): void {
    this.goBackToPassedOver(place);
    for (const look of this.looks) look.lowestPassedOver = firstOf(look.lowestPassedOver, place);
  }

  /** What became available a moment ago may be claimed from now on. */
  stepBack(): void {
    this.lower({ at: Math.max(0, this.furthest - A_MOMENT_US), id: '1' });
  }

  /** Nothing is known any more. */
  reset(): void {
    this.floor = START;
    this.passedOver = undefined;
    this.looks.clear();
  }

  private begin(look: Look): Look {
    this.looks.add(look);
    return look;
  }

  private goBackTo(place: Place): void {
    const before = justBefore(place);
    if (isBefore(before, this.floor)) this.floor = before;
  }

  private goBackToPassedOver(place: Place): void {
    const before = justBefore(place);
    if (!this.passedOver) this.goBackTo(place);
    else if (isBefore(before, this.passedOver)) this.passedOver = before;
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

function firstOf(one: Place | undefined, other: Place): Place {
  return one && isBefore(one, other) ? one : other;
}

export function isBefore(one: Place, other: Place): boolean {
  return one.at < other.at || (one.at === other.at && isLess(one.id, other.id));
}

/** Of whole numbers as text, without leading zeros. */
export function isLess(one: string, other: string): boolean {
  return one.length === other.length ? one < other : one.length < other.length;
}

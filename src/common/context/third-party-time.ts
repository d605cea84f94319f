import { type Context, currentContext } from './context.js';

/** A stretch of time on the monotonic clock, in milliseconds; `to` is Infinity while it lasts. */
export interface Interval {
  from: number;
  to: number;
}

/** Of those units of work that asked; all others pay one look-up for each wait. */
const waitsOf = new WeakMap<Context, Interval[]>();

/** Notes from now on when this unit of work waits for a third party. */
export function noteThirdParties(context: Context): readonly Interval[] {
  const waits: Interval[] = [];
  waitsOf.set(context, waits);
  return waits;
}

/** Runs `work`, all of whose time is somebody else's: a provider's. */
export async function waitingForThirdParty<T>(work: () => Promise<T>): Promise<T> {
  const context = currentContext();
  const waits = context && waitsOf.get(context);
  if (!waits) return await work();
  const wait = { from: performance.now(), to: Number.POSITIVE_INFINITY };
  waits.push(wait);
  try {
    return await work();
  } finally {
    wait.to = performance.now();
  }
}

/** How much of `within` lies in at least one of the intervals: overlapping ones count once. */
export function coveredMs(intervals: readonly Interval[], within: Interval): number {
  let covered = 0;
  let reached = within.from;
  for (const { from, to } of intervals.toSorted((a, b) => a.from - b.from)) {
    const begin = Math.max(from, reached);
    const end = Math.min(to, within.to);
    if (end <= begin) continue;
    covered += end - begin;
    reached = end;
  }
  return covered;
}

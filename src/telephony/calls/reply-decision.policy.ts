import { SUPPRESSION_REASONS } from '../../common/metrics/labels.js';
import { type Caller, classifyCaller } from './caller.policy.js';

/** Why a caller gets no text. The order is the precedence: of several reasons that hold, the first one is recorded. */
export { SUPPRESSION_REASONS };

export type SuppressionReason = (typeof SUPPRESSION_REASONS)[number];

/** What happens after a missed call; taken once per call and recorded. A deferred reply is due at `until`. */
export type ReplyDecision =
  | { decision: 'reply' }
  | { decision: 'suppress'; reason: SuppressionReason }
  | { decision: 'defer'; reason: 'tenant_quiet_hours'; until: Date };

/**
 * A daily window in which the tenant sends no first reply: from `start` until before `end`, `HH:MM` on the wall clock
 * of the IANA `timeZone`. It crosses midnight when `end` is earlier than `start`; it is empty when they are equal.
 */
export interface QuietHours {
  start: string;
  end: string;
  timeZone: string;
}

/** Everything the decision rests on. Phone numbers are E.164. */
export interface ReplyFacts {
  caller: Caller;
  /** Twilio's `ForwardedFrom`, as received. */
  forwardedFrom?: string;
  tenantNumbers: readonly string[];
  ownerPhone?: string;
  /** The caller is a number of any tenant of this platform: two bots must never text each other. */
  isPlatformNumber: boolean;
  compliance: { allowed: true } | { allowed: false; reason: 'opted_out' | 'not_registered' };
  /** This caller already has a reply of this tenant within the repeat window. */
  repeatWithinWindow: boolean;
  /** Only for tenants that chose to defer; without it a first reply goes out at any hour. */
  quietHours?: QuietHours;
  now: Date;
}

/**
 * Decides whether a missed caller is texted now, later or not at all.
 *
 * Suppression comes before deferral, so that nothing is put off that would never be sent.
 *
 * @throws RangeError when the quiet hours name an unknown time zone or a malformed time.
 */
export function decideReply(facts: ReplyFacts): ReplyDecision {
  const reason = suppressionOf(facts);
  if (reason !== undefined) return { decision: 'suppress', reason };

  const until = facts.quietHours && quietUntil(facts.quietHours, facts.now);
  return until ? { decision: 'defer', reason: 'tenant_quiet_hours', until } : { decision: 'reply' };
}

function suppressionOf(facts: ReplyFacts): SuppressionReason | undefined {
  if (facts.caller.kind !== 'reachable') return facts.caller.kind;
  if (isOwnNumber(facts.caller.phone, facts)) return 'own_number';
  if (facts.isPlatformNumber) return 'platform_number';
  if (!facts.compliance.allowed) return facts.compliance.reason;
  return facts.repeatWithinWindow ? 'repeat' : undefined;
}

/** Some carriers put the forwarding business in the place of the caller; a reply would text the plumber himself. */
function isOwnNumber(phone: string, { forwardedFrom, ownerPhone, tenantNumbers }: ReplyFacts): boolean {
  return [forwardedFrom, ownerPhone, ...tenantNumbers].some((own) => {
    const known = classifyCaller(own);
    return known.kind === 'reachable' && known.phone === phone;
  });
}

const MINUTE_MS = 60_000;
const DAY_MS = 86_400_000;

/**
 * The instant at which the quiet hours around `now` end, or undefined when `now` is outside of them.
 *
 * It is the next instant at which the local clock shows `end`. When a DST gap skips that reading, it is the instant of
 * the jump; when an overlap shows it twice, it is the first of the two that is still ahead.
 *
 * @throws RangeError when the window names an unknown time zone or a malformed time.
 */
export function quietUntil(quietHours: QuietHours, now: Date): Date | undefined {
  const { timeZone } = quietHours;
  const end = minuteOfDay(quietHours.end);
  const isQuietAt = quietTest(minuteOfDay(quietHours.start), end);
  const wallNow = wallClock(now.getTime(), timeZone);
  if (!isQuietAt(wallNow)) return undefined;

  const midnight = Math.floor(wallNow / DAY_MS) * DAY_MS;
  for (const day of [0, 1, 2]) {
    const instants = instantsShowing(midnight + day * DAY_MS + end * MINUTE_MS, timeZone);
    const until = instants.find((at) => at > now.getTime() && !isQuietAt(wallClock(at, timeZone)));
    if (until !== undefined) return new Date(until);
  }
  throw new RangeError('The quiet hours do not end within two days');
}

function quietTest(start: number, end: number): (wall: number) => boolean {
  return (wall) => {
    const minute = Math.floor((wall % DAY_MS) / MINUTE_MS);
    return start <= end ? minute >= start && minute < end : minute >= start || minute < end;
  };
}

/** Minutes since midnight of `HH:MM`; `HH:MM:00`, as Postgres prints a `time`, is the same. */
function minuteOfDay(time: string): number {
  const [, hours, minutes] = /^([01]\d|2[0-3]):([0-5]\d)(?::00)?$/.exec(time) ?? [];
  if (hours === undefined || minutes === undefined) throw new RangeError('Quiet hours must be given as HH:MM');
  return Number(hours) * 60 + Number(minutes);
}

/** The instants at which the clock shows a reading, in order: one, two in an overlap, or the jump over it in a gap. */
function instantsShowing(wall: number, timeZone: string): number[] {
  const before = offset(wall - DAY_MS, timeZone);
  const after = offset(wall + DAY_MS, timeZone);
  // In an overlap the clock goes back, so the old offset is the larger one and leads to the earlier instant.
  const showing = [...new Set([wall - before, wall - after])].filter((at) => wallClock(at, timeZone) === wall);
  if (showing.length > 0) return showing;

  // Inside a gap the new offset leads to before the jump and the old one to after it.
  let early = wall - after;
  let late = wall - before;
  while (late - early > 1) {
    const middle = Math.floor((early + late) / 2);
    if (wallClock(middle, timeZone) < wall) early = middle;
    else late = middle;
  }
  return [late];
}

function offset(at: number, timeZone: string): number {
  return wallClock(at, timeZone) - at;
}

const clocks = new Map<string, Intl.DateTimeFormat>();

/** What the local clock shows at an instant, written as if it were UTC, in milliseconds. */
function wallClock(at: number, timeZone: string): number {
  let clock = clocks.get(timeZone);
  if (!clock) {
    clock = new Intl.DateTimeFormat('en-US', {
      timeZone,
      hourCycle: 'h23',
      year: 'numeric',
      month: 'numeric',
      day: 'numeric',
      hour: 'numeric',
      minute: 'numeric',
      second: 'numeric',
    });
    clocks.set(timeZone, clock);
  }
  const shown: Partial<Record<Intl.DateTimeFormatPartTypes, number>> = {};
  for (const { type, value } of clock.formatToParts(at)) shown[type] = Number(value);
  const { year = 0, month = 1, day = 1, hour = 0, minute = 0, second = 0 } = shown;
  return Date.UTC(year, month - 1, day, hour, minute, second) + (((at % 1000) + 1000) % 1000);
}

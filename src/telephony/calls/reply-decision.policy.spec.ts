import fc from 'fast-check';
import { classifyCaller } from './caller.policy.js';
import { decideReply, quietUntil, type ReplyFacts, SUPPRESSION_REASONS } from './reply-decision.policy.js';

const CALLER = '+15125550142';

function facts(changes: Partial<ReplyFacts> = {}): ReplyFacts {
  return {
    caller: classifyCaller(CALLER),
    tenantNumbers: ['+15125550100'],
    isPlatformNumber: false,
    compliance: { allowed: true },
    repeatWithinWindow: false,
    now: new Date('2026-11-24T18:00:00Z'),
    ...changes,
  };
}

const suppressed = (reason: string) => ({ decision: 'suppress', reason });

describe('decideReply', () => {
  it('replies to an ordinary caller at any hour when the tenant has no quiet hours', () => {
    expect(decideReply(facts({ now: new Date('2026-11-24T09:00:00Z') }))).toEqual({ decision: 'reply' });
  });

  it.each([
    ['Anonymous', 'withheld'],
    ['22395', 'short_code'],
    ['ACMEPLUMB', 'alphanumeric'],
    ['+18005550142', 'toll_free'],
    ['client:bob', 'not_a_phone'],
  ])('does not text %s', (raw, reason) => {
    expect(decideReply(facts({ caller: classifyCaller(raw) }))).toEqual(suppressed(reason));
  });

  it.each([
    ['a number of the tenant', { tenantNumbers: ['+15125550100', CALLER] }],
    ['the owner', { ownerPhone: CALLER }],
    ['the number the call was forwarded from', { forwardedFrom: CALLER }],
    ['the number the call was forwarded from, written without country code', { forwardedFrom: '5125550142' }],
  ])('never texts the business itself: the caller is %s', (_who, changes) => {
    expect(decideReply(facts(changes))).toEqual(suppressed('own_number'));
  });

  it('replies when the call was forwarded from another number, or from a withheld one', () => {
    expect(decideReply(facts({ forwardedFrom: '+15125550199' })).decision).toBe('reply');
    expect(decideReply(facts({ forwardedFrom: 'Anonymous' })).decision).toBe('reply');
  });

  it('never lets two businesses of the platform text each other', () => {
    expect(decideReply(facts({ isPlatformNumber: true }))).toEqual(suppressed('platform_number'));
  });

  it.each(['opted_out', 'not_registered'] as const)('obeys compliance: %s', (reason) => {
    expect(decideReply(facts({ compliance: { allowed: false, reason } }))).toEqual(suppressed(reason));
  });

  it('sends one reply to a caller who calls again and again', () => {
    expect(decideReply(facts({ repeatWithinWindow: true }))).toEqual(suppressed('repeat'));
  });

  it('records the first reason of the list when several hold', () => {
    const steps: Partial<ReplyFacts>[] = [
      { quietHours: { start: '00:00', end: '23:59', timeZone: 'UTC' } },
      { repeatWithinWindow: true },
      { compliance: { allowed: false, reason: 'opted_out' } },
      { isPlatformNumber: true },
      { ownerPhone: CALLER },
      { caller: classifyCaller('not a number at all') },
    ];
    let all: Partial<ReplyFacts> = {};
    const outcomes = steps.map((step) => {
      all = { ...all, ...step };
      return decideReply(facts(all));
    });
    const reasons = outcomes.map((outcome) => ('reason' in outcome ? outcome.reason : outcome.decision));
    expect(reasons).toEqual([
      'tenant_quiet_hours',
      'repeat',
      'opted_out',
      'platform_number',
      'own_number',
      'not_a_phone',
    ]);
    const listed = reasons.slice(1).map((reason) => (SUPPRESSION_REASONS as readonly string[]).indexOf(reason));
    expect(listed).toEqual([...listed].sort((a, b) => b - a));
  });

  it('defers within the quiet hours of the tenant, not of the server', () => {
    const quietHours = { start: '21:00', end: '08:00', timeZone: 'America/Chicago' };
    const at = (now: string) => decideReply(facts({ quietHours, now: new Date(now) }));
    expect(at('2026-11-25T02:59:59.999Z')).toEqual({ decision: 'reply' });
    expect(at('2026-11-25T03:00:00.000Z')).toEqual({
      decision: 'defer',
      reason: 'tenant_quiet_hours',
      until: new Date('2026-11-25T14:00:00Z'),
    });
    expect(at('2026-11-25T14:00:00.000Z')).toEqual({ decision: 'reply' });
  });
});

describe('quietUntil', () => {
  const until = (start: string, end: string, timeZone: string, now: string) =>
    quietUntil({ start, end, timeZone }, new Date(now))?.toISOString();

  it('ends the same day when the window began after midnight, the next day when before', () => {
    expect(until('21:00', '08:00', 'America/New_York', '2026-01-10T04:30:00Z')).toBe('2026-01-10T13:00:00.000Z');
    expect(until('21:00', '08:00', 'America/New_York', '2026-01-10T12:30:00Z')).toBe('2026-01-10T13:00:00.000Z');
    expect(until('12:00', '13:30', 'Asia/Kolkata', '2026-01-10T07:00:00.500Z')).toBe('2026-01-10T08:00:00.000Z');
  });

  it('takes an empty window for no quiet hours', () => {
    expect(until('08:00', '08:00', 'UTC', '2026-01-10T08:00:00Z')).toBeUndefined();
  });

  it('follows the local clock over the night in which DST begins or ends', () => {
    expect(until('21:00', '08:00', 'America/New_York', '2026-03-08T04:00:00Z')).toBe('2026-03-08T12:00:00.000Z');
    expect(until('21:00', '08:00', 'America/New_York', '2026-11-01T04:00:00Z')).toBe('2026-11-01T13:00:00.000Z');
  });

  it('ends at the jump when DST skips the end', () => {
    expect(until('21:00', '02:30', 'America/New_York', '2026-03-08T05:00:00Z')).toBe('2026-03-08T07:00:00.000Z');
    expect(until('21:00', '02:15', 'Australia/Lord_Howe', '2026-10-03T13:00:00Z')).toBe('2026-10-03T15:30:00.000Z');
  });

  it('goes on to the next day when DST skips the end and lands within the window again', () => {
    expect(until('02:45', '02:30', 'America/New_York', '2026-03-08T06:00:00Z')).toBe('2026-03-09T06:30:00.000Z');
  });

  it('ends at the next of the two when DST shows the end twice', () => {
    expect(until('21:00', '01:30', 'America/New_York', '2026-11-01T04:00:00Z')).toBe('2026-11-01T05:30:00.000Z');
    expect(until('21:00', '01:30', 'America/New_York', '2026-11-01T05:45:00Z')).toBeUndefined();
    expect(until('21:00', '01:30', 'America/New_York', '2026-11-01T06:10:00Z')).toBe('2026-11-01T06:30:00.000Z');
  });

  it.each([
    ['25:00', '08:00', 'UTC'],
    ['21:00', '8', 'UTC'],
    ['21:00', '08:00', 'Mars/Olympus'],
  ])('refuses %s to %s in %s', (start, end, timeZone) => {
    expect(() => until(start, end, timeZone, '2026-01-10T04:30:00Z')).toThrow(RangeError);
  });

  it('agrees with a walk along the local clock, minute by minute, around every change of DST', () => {
    const zones = ['America/New_York', 'America/Chicago', 'America/Phoenix', 'Europe/London', 'Australia/Lord_Howe'];
    const changes = ['2026-03-08', '2026-11-01', '2026-03-29', '2026-10-25', '2026-04-04', '2026-10-03'];
    const time = fc.integer({ min: 0, max: 95 }).map((quarter) => {
      const pad = (n: number) => String(n).padStart(2, '0');
      return `${pad(Math.floor(quarter / 4))}:${pad((quarter % 4) * 15)}`;
    });
    fc.assert(
      fc.property(
        fc.constantFrom(...zones),
        fc.constantFrom(...changes),
        fc.integer({ min: -1440, max: 2880 }),
        time,
        time,
        (timeZone, day, minutes, start, end) => {
          const clock = new Intl.DateTimeFormat('en-GB', { timeZone, hour: '2-digit', minute: '2-digit' });
          const isQuiet = (at: number) => {
            const shown = clock.format(at);
            return start <= end ? shown >= start && shown < end : shown >= start || shown < end;
          };
          const now = Date.parse(`${day}T00:00:00Z`) + minutes * 60_000;
          const answer = quietUntil({ start, end, timeZone }, new Date(now))?.getTime();
          if (answer === undefined) return !isQuiet(now);
          const minuteBefore = clock.format(answer - 60_000);
          const skipped = minuteBefore < end && clock.format(answer) > end;
          let shownEarlier = false;
          for (let at = now; at < answer; at += 60_000) shownEarlier ||= clock.format(at) === end;
          return isQuiet(now) && !shownEarlier && !isQuiet(answer) && (clock.format(answer) === end || skipped);
        },
      ),
    );
  });
});

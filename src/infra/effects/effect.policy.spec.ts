import type { EffectTimings, Intent, NotAccepted, OpenAttempt } from './effect.js';
import { attemptOf, backoffMs, decideAbsence, decideAnswer, isOfOurTime, nextLookInMs } from './effect.policy.js';

const timings: EffectTimings = {
  staleMarkerMs: 5_000,
  lookAtMs: [2_000, 5_000, 10_000, 20_000],
  backoffBaseMs: 500,
  tooLateMs: 3_600_000,
  maxResends: 3,
};
const looks = timings.lookAtMs;

describe('looking for an effect whose outcome is unknown', () => {
  it.each([
    [0, 2_000],
    [1_999, 1],
    [2_000, 3_000],
    [8_004, 1_996],
    [12_000, 8_000],
    [19_999, 1],
  ])('at an age of %d ms waits %d ms for the next look', (ageMs, delayMs) => {
    expect(nextLookInMs(looks, ageMs)).toBe(delayMs);
  });

  it.each([20_000, 20_001, 3_600_000])('has taken its last look at %d ms', (ageMs) => {
    expect(nextLookInMs(looks, ageMs)).toBeUndefined();
  });

  it('waits whole milliseconds, and never so few that the look comes too early', () => {
    for (let ageMs = 0; ageMs < 20_000; ageMs += 7.31) {
      const delayMs = nextLookInMs(looks, ageMs) ?? Number.NaN;
      expect(Number.isInteger(delayMs)).toBe(true);
      expect(looks.some((at) => ageMs < at && ageMs + delayMs >= at)).toBe(true);
    }
  });
});

describe('the pause after "not processed"', () => {
  const base = timings.backoffBaseMs;

  it('spreads over the whole interval, which doubles up to ten seconds', () => {
    expect([1, 2, 3, 4, 5, 6, 40].map((attempt) => backoffMs(attempt, 0.999999, base))).toEqual([
      550, 1_050, 2_050, 4_050, 8_050, 10_050, 10_050,
    ]);
    expect([1, 5, 40].map((attempt) => backoffMs(attempt, 0, base))).toEqual([50, 50, 50]);
  });

  it('is never shorter than the provider asked for', () => {
    for (const random of [0, 0.5, 0.999]) expect(backoffMs(1, random, base, 7_000)).toBeGreaterThan(7_000);
  });
});

describe('an answer other than yes', () => {
  const refused: NotAccepted = { kind: 'refused', httpStatus: '400', reason: 'no' };
  const busy: NotAccepted = { kind: 'not_processed', httpStatus: '429', retryAfterMs: 3_000 };
  const unknown: NotAccepted = { kind: 'unknown', httpStatus: 'timeout' };
  const asking: Intent = { phase: 'submitting', attempt: 2, age_ms: 9_000 };
  const earlier: OpenAttempt[] = [{ attempt: 1, age_ms: 8_000 }];
  const answered: OpenAttempt[] = [{ attempt: 2, age_ms: 600 }];

  it.each<[string, NotAccepted, number, Intent, OpenAttempt[], object]>([
    ['no is no', refused, 2, asking, [], { phase: 'failed' }],
    ['not processed: once more, later', busy, 2, asking, [], { phase: 'requested', delayMs: 3_050 }],
    [
      'not processed, and an earlier one open: look first',
      busy,
      2,
      asking,
      earlier,
      { phase: 'unknown', delayMs: 3_050 },
    ],
    ['unknown: look', unknown, 2, asking, answered, { phase: 'unknown', delayMs: 1_400 }],
    ['an older no decides nothing', refused, 1, asking, [], {}],
    ['an older "not processed" neither', busy, 1, asking, [], { delayMs: 3_050 }],
    ['an older unknown neither', unknown, 1, asking, earlier, { delayMs: 2_000 }],
    ['nor a late one, when it was looked for meanwhile', refused, 2, { ...asking, phase: 'unknown' }, [], {}],
    ['nothing of it touches what is settled', unknown, 2, { ...asking, phase: 'settled' }, answered, {}],
  ])('%s', (_rule, outcome, attempt, intent, open, expected) => {
    expect(decideAnswer({ outcome, attempt, intent, open }, timings, 0)).toEqual(expected);
  });
});

describe('an effect that was not found', () => {
  const before: Intent = { phase: 'unknown', attempt: 1, age_ms: 30_000 };
  const young: OpenAttempt[] = [{ attempt: 1, age_ms: 4_000 }];
  const old: OpenAttempt[] = [{ attempt: 1, age_ms: 20_000 }];
  const many = Array.from({ length: 4 }, (_, i) => ({ attempt: i + 1, age_ms: 90_000 - 20_000 * i }));
  const base = { tookMs: 100, before, now: before, open: old };
  const late = { ...before, age_ms: 3_600_001 };

  it.each<[string, Partial<typeof base> | { tookMs: undefined }, number | string]>([
    ['before the last look is looked for again', { open: young }, 900],
    ['at the last look is absent', {}, 'absent'],
    ['while nobody answers is not absent', { tookMs: undefined }, 50],
    [
      'and while nobody answered for as long as it matters is for a person',
      { tookMs: undefined, before: late },
      'needs_review',
    ],
    ['of a request that another process made meanwhile waits for that one', { now: { ...before, attempt: 2 } }, 2_000],
    ['after as many ambiguous requests as are allowed is for a person', { open: many }, 'needs_review'],
    [
      'and is asked for once more when the person says so',
      { open: many, before: { ...before, phase: 'needs_review' } },
      'absent',
    ],
    ['of no open request at all waits', { open: [] }, 2_000],
  ])('%s', (_rule, change, expected) => {
    expect(decideAbsence({ ...base, ...change }, timings, 0)).toBe(expected);
  });
});

describe('something found at the provider is ours', () => {
  it.each([
    ['younger than the first request', 200, true],
    ['older by what whole seconds and slow answers explain', 14_000, true],
    ['older than the first request', 14_001, false],
    ['an hour old', 3_600_000, false],
    ['without a readable date', Number.NaN, false],
  ])('%s', (_case, ageMs, ours) => expect(isOfOurTime(ageMs, 9_000)).toBe(ours));

  it('and belongs to the request that is nearest to it in time', () => {
    const attempts = [
      { attempt: 1, age_ms: 40_000 },
      { attempt: 2, age_ms: 20_000 },
    ];
    expect([39_200, 31_000, 20_800, 400].map((ageMs) => attemptOf(ageMs, attempts)?.attempt)).toEqual([1, 1, 2, 2]);
    expect(attemptOf(1, [])).toBeUndefined();
  });
});

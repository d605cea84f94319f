import { classifyTwilioError } from '../integrations/twilio/twilio-error-codes.js';
import {
  attemptOf,
  backoffMs,
  type Candidate,
  isRepairable,
  isSame,
  isTooLate,
  nextLookInMs,
  SendingTimings,
  type Sought,
  VALIDITY_SECONDS,
} from './sending.policy.js';

const timings = new SendingTimings();
const looks = timings.lookAtMs.first_reply;

describe('looking for a text whose outcome is unknown', () => {
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

  it('takes the last look only when no request of ours can still be on its way', () => {
    expect(looks.at(-1)).toBeGreaterThan(timings.staleMarkerMs + timings.requestTimeoutMs);
  });

  it('is over long before the provider itself forgets the text', () => {
    expect((looks.at(-1) ?? 0) / 1_000).toBeLessThan(VALIDITY_SECONDS.first_reply);
  });
});

describe('a first reply is too late', () => {
  it.each([
    [0, false],
    [3_600_000, false],
    [3_600_001, true],
  ])('%d ms after the call: %s', (ageMs, late) => expect(isTooLate('first_reply', ageMs)).toBe(late));
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

describe('a text in the list is ours', () => {
  const sought: Sought = {
    body: 'Sorry we missed you',
    businessNumber: '+12125550100',
    messagingServiceSid: null,
    ageMs: 9_000,
  };
  const candidate: Candidate = {
    body: sought.body,
    from: sought.businessNumber,
    messagingServiceSid: null,
    ageMs: 9_000,
  };
  const service = `MG${'0'.repeat(32)}`;

  it.each<[string, Partial<Candidate>, Partial<Sought>, boolean]>([
    ['the same in everything', {}, {}, true],
    ['younger than the first request', { ageMs: 200 }, {}, true],
    ['older by what whole seconds and slow answers explain', { ageMs: 14_000 }, {}, true],
    ['older than the first request', { ageMs: 14_001 }, {}, false],
    ['the same words of an hour ago', { ageMs: 3_600_000 }, {}, false],
    ['other words', { body: 'Sorry we missed you.' }, {}, false],
    ['another sender', { from: '+12125550101' }, {}, false],
    ['through the service', { messagingServiceSid: service, from: null }, { messagingServiceSid: service }, true],
    [
      'through the service, its sender chosen',
      { messagingServiceSid: service },
      { messagingServiceSid: service },
      true,
    ],
    ['past the service', {}, { messagingServiceSid: service }, false],
    [
      'through another service',
      { messagingServiceSid: `MG${'1'.repeat(32)}` },
      { messagingServiceSid: service },
      false,
    ],
    ['without a readable date', { ageMs: Number.NaN }, {}, false],
  ])('%s', (_case, ofCandidate, ofSought, same) => {
    expect(isSame({ ...candidate, ...ofCandidate }, { ...sought, ...ofSought })).toBe(same);
  });

  it('and belongs to the request that is nearest to it in time', () => {
    const attempts = [
      { attempt: 1, age_ms: 40_000 },
      { attempt: 2, age_ms: 20_000 },
    ];
    expect([39_200, 31_000, 20_800, 400].map((ageMs) => attemptOf(ageMs, attempts)?.attempt)).toEqual([1, 1, 2, 2]);
    expect(attemptOf(1, [])).toBeUndefined();
  });
});

describe('a refusal', () => {
  it('can be repaired where it is about the account, not about the text or its reader', () => {
    const repairable = [20003, 21606, 30002, 30034].map((code) => isRepairable(classifyTwilioError(code).class));
    expect(repairable).toEqual([true, true, true, true]);
    const final = [21211, 21610, 21614, 21617, undefined].map((code) => isRepairable(classifyTwilioError(code).class));
    expect(final).toEqual([false, false, false, false, false]);
  });
});

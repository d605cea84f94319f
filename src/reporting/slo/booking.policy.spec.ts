import { BOOKING_EXCLUSIONS, METRICS } from '../../common/metrics/catalogue.js';
import { judgeBooking } from './booking.policy.js';

const judge = (status: number | undefined, ownMs: number) => judgeBooking({ status, ownMs }, 500);
const GOOD = { excluded: null, kept: true, failed: false };
const SLOW = { excluded: null, kept: false, failed: false };
const FAILED = { excluded: null, kept: false, failed: true };

describe('a request to the booking API', () => {
  it.each([200, 201, 302, 409, 410])('answered %d is good up to the threshold and bad beyond', (status) => {
    expect(judge(status, 3)).toEqual(GOOD);
    expect(judge(status, 500)).toEqual(GOOD);
    expect(judge(status, 500.1)).toEqual(SLOW);
  });

  it.each([500, 502, 503, 504])('that failed with %d is bad, however fast', (status) => {
    expect(judge(status, 1)).toEqual(FAILED);
    expect(judge(status, 9_000)).toEqual(FAILED);
  });

  it.each([
    [400, 'malformed'],
    [413, 'malformed'],
    [415, 'malformed'],
    [422, 'malformed'],
    [401, 'unauthenticated'],
    [403, 'forbidden'],
    [404, 'not_found'],
    [429, 'rate_limited'],
  ])('refused with %d does not count: %s', (status, excluded) => {
    expect(judge(status, 1)).toEqual({ excluded, kept: false, failed: false });
    expect(judge(status, 9_000)).toEqual({ excluded, kept: false, failed: false });
  });

  it('that nobody listed counts: leaving out is the exception', () => {
    expect(judge(405, 1)).toEqual(GOOD);
    expect(judge(418, 501)).toEqual(SLOW);
  });

  it('given up by its caller is bad once we were late, and before that nothing is known of it', () => {
    expect(judge(undefined, 501)).toEqual(FAILED);
    expect(judge(undefined, 499)).toEqual({ excluded: 'hung_up', kept: false, failed: false });
  });
});

it('no reason is shared with the first text: the key of slo_exclusions tells them apart by it', () => {
  const ofFirstSms: readonly unknown[] = [METRICS.slo_first_sms_excluded_total.labels?.['reason']].flat();
  expect(ofFirstSms).toContain('opted_out');
  expect(BOOKING_EXCLUSIONS.filter((reason) => ofFirstSms.includes(reason))).toEqual([]);
});

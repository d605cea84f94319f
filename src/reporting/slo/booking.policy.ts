import type { BookingSample } from '../../common/interceptors/booking-edge.js';
import type { BookingExclusion } from '../../common/metrics/labels.js';

/** What one request is to the objective of the booking API. */
export interface BookingVerdict {
  /** Why it does not count; null where it does. */
  excluded: BookingExclusion | null;
  /** Whether the promise was kept. */
  kept: boolean;
  /** Whether the caller got nothing: a speed that nobody wants in a percentile. */
  failed: boolean;
}

/**
 * Answers that say the request itself was wrong. Everything else is the service at work: a hold that is gone (410) or a
 * slot that somebody else got (409) is an answer for which somebody waited.
 */
const REFUSALS: Readonly<Record<number, BookingExclusion>> = {
  400: 'malformed',
  401: 'unauthenticated',
  403: 'forbidden',
  404: 'not_found',
  413: 'malformed',
  415: 'malformed',
  422: 'malformed',
  429: 'rate_limited',
};

/** Good is an answer in time; a failure of ours is bad however fast it came, and so is a caller whom we drove away. */
export function judgeBooking(
  { status, ownMs }: Pick<BookingSample, 'status' | 'ownMs'>,
  thresholdMs: number,
): BookingVerdict {
  const isLate = ownMs > thresholdMs;
  const excluded = status === undefined ? (isLate ? null : 'hung_up') : (REFUSALS[status] ?? null);
  const failed = excluded === null && (status === undefined || status >= 500);
  return { excluded, kept: excluded === null && !failed && !isLate, failed };
}

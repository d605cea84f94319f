import type { TwilioErrorClass } from '../integrations/twilio/twilio-error-codes.js';

export type Purpose = 'first_reply';

/**
 * How long sending waits, in ms; injected, so that a test can hurry. A first reply cannot wait long for certainty,
 * because a lost caller is worse than a rare double. A marker that is just not stale and a request of full length end
 * before the last look: nothing of ours can still be on its way when a text is declared absent.
 */
export class SendingTimings {
  /** One request, whole; far below the SDK's own 30 s, which would be a caller's whole patience. */
  requestTimeoutMs = 8_000;
  /** A process that was frozen for longer than this around its marker must not send: others may have taken over. */
  staleMarkerMs = 5_000;
  /** When to look for a text whose outcome is unknown, since its request; absent at the last look is absent. */
  lookAtMs: Record<Purpose, readonly number[]> = { first_reply: [2_000, 5_000, 10_000, 20_000] };
  /** Pause between two tries while the kill switch is on. */
  pausedLookMs = 2_000;
  /** First ceiling of the jitter while the provider takes nothing; it doubles up to ten seconds. */
  backoffBaseMs = 500;
}

/** A text that is this late is not sent any more. */
const TOO_LATE_MS: Record<Purpose, number> = { first_reply: 60 * 60_000 };
/** Seconds a text may wait inside the provider: no zombie arrives hours later. */
export const VALIDITY_SECONDS: Record<Purpose, number> = { first_reply: 300 };
/** Resends after ambiguous outcomes, each flagged and counted; beyond, a person looks. */
export const MAX_RESENDS = 3;

const BACKOFF_CAP_MS = 10_000;

/** The next of `looks` after `ageMs`, as a delay; undefined when the last look has been taken: then it is absent. */
export function nextLookInMs(looks: readonly number[], ageMs: number): number | undefined {
  const next = looks.find((at) => at > ageMs);
  return next === undefined ? undefined : Math.ceil(next - ageMs);
}

export function isTooLate(purpose: Purpose, ageMs: number): boolean {
  return ageMs > TOO_LATE_MS[purpose];
}

/**
 * Whether a refusal is about the account and not about this text or its reader: then a person repairs the account, and
 * the text can be sent after all.
 */
export function isRepairable(errorClass: TwilioErrorClass): boolean {
  return errorClass === 'configuration' || errorClass === 'suspended' || errorClass === 'not_registered';
}

/** Full jitter, at least what the provider asked for. @param random in [0, 1) */
export function backoffMs(attempt: number, random: number, baseMs: number, retryAfterMs = 0): number {
  const ceiling = Math.min(BACKOFF_CAP_MS, baseMs * 2 ** Math.max(0, attempt - 1));
  return Math.round(retryAfterMs + 50 + random * ceiling);
}

export interface Candidate {
  body: string;
  from: string | null;
  messagingServiceSid: string | null;
  /** How old it is by the provider's own clock. */
  ageMs: number;
}

export interface Sought {
  body: string;
  businessNumber: string;
  messagingServiceSid: string | null;
  /** How long ago the first request that may have brought it began, by our own clock. */
  ageMs: number;
}

/** Providers' dates have whole seconds. Ages are compared, not times: the two clocks need not agree. */
const AGE_TOLERANCE_MS = 5_000;

/** Whether a text in the provider's list is one that we asked for. */
export function isSame(candidate: Candidate, sought: Sought): boolean {
  const sameSender = sought.messagingServiceSid
    ? candidate.messagingServiceSid === sought.messagingServiceSid
    : candidate.from === sought.businessNumber;
  return sameSender && candidate.body === sought.body && candidate.ageMs <= sought.ageMs + AGE_TOLERANCE_MS;
}

/** The attempt that brought a text of this age: the nearest one. Undefined when there are none. */
export function attemptOf<Attempt extends { age_ms: number }>(
  ageMs: number,
  attempts: readonly Attempt[],
): Attempt | undefined {
  const distance = (attempt: Attempt) => Math.abs(attempt.age_ms - ageMs);
  return attempts.toSorted((a, b) => distance(a) - distance(b))[0];
}

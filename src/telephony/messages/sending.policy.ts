/**
 * When to look for a text whose outcome is unknown, in ms since the request: a first reply cannot wait long,
 * because a lost caller is worse than a rare double.
 */
const LOOK_AT_MS = { first_reply: [2_000, 5_000, 10_000, 20_000] } as const;
export type Purpose = keyof typeof LOOK_AT_MS;

/** A text that is this late is not sent any more. */
const TOO_LATE_MS: Record<Purpose, number> = { first_reply: 60 * 60_000 };
/** Seconds a text may wait inside the provider: no zombie arrives hours later. */
export const VALIDITY_SECONDS: Record<Purpose, number> = { first_reply: 300 };
/** Resends after ambiguous outcomes, each flagged and counted; beyond, a person looks. */
export const MAX_RESENDS = 3;

const BACKOFF_BASE_MS = 500;
const BACKOFF_CAP_MS = 10_000;

/** The next look after `ageMs`, as a delay; undefined when the last look has been taken: then it is absent. */
export function nextLookInMs(purpose: Purpose, ageMs: number): number | undefined {
  const next = LOOK_AT_MS[purpose].find((at) => at > ageMs);
  return next === undefined ? undefined : next - ageMs;
}

export function isTooLate(purpose: Purpose, ageMs: number): boolean {
  return ageMs > TOO_LATE_MS[purpose];
}

/** Full jitter, at least what the provider asked for. @param random in [0, 1) */
export function backoffMs(attempt: number, random: number, retryAfterMs = 0): number {
  const ceiling = Math.min(BACKOFF_CAP_MS, BACKOFF_BASE_MS * 2 ** Math.max(0, attempt - 1));
  return Math.round(retryAfterMs + 50 + random * ceiling);
}

export interface Candidate {
  body: string;
  from: string | null;
  messagingServiceSid: string | null;
  createdAt: Date;
}

export interface Sought {
  body: string;
  businessNumber: string;
  messagingServiceSid: string | null;
  /** When the first request for it began. */
  since: Date;
}

/** Providers' dates have whole seconds, and clocks differ. */
const CLOCK_TOLERANCE_MS = 5_000;

/** Whether a text in the provider's list is the one that we asked for. */
export function isSame(candidate: Candidate, sought: Sought): boolean {
  const sameSender = sought.messagingServiceSid
    ? candidate.messagingServiceSid === sought.messagingServiceSid
    : candidate.from === sought.businessNumber;
  return (
    sameSender &&
    candidate.body === sought.body &&
    candidate.createdAt.getTime() >= sought.since.getTime() - CLOCK_TOLERANCE_MS
  );
}

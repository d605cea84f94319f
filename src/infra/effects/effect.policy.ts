import type { EffectTimings, Intent, NotAccepted, OpenAttempt, Phase } from './effect.js';

const BACKOFF_CAP_MS = 10_000;
/** Of the backoff, while the provider cannot even be looked at. */
const BLIND_ATTEMPT = 3;
/** Providers' dates have whole seconds. Ages are compared, not times: the two clocks need not agree. */
const AGE_TOLERANCE_MS = 5_000;

/** The next of `looks` after `ageMs`, as a delay; undefined when the last look has been taken: then it is absent. */
export function nextLookInMs(looks: readonly number[], ageMs: number): number | undefined {
  const next = looks.find((at) => at > ageMs);
  return next === undefined ? undefined : Math.ceil(next - ageMs);
}

/** Full jitter, at least what the provider asked for. @param random in [0, 1) */
export function backoffMs(attempt: number, random: number, baseMs: number, retryAfterMs = 0): number {
  const ceiling = Math.min(BACKOFF_CAP_MS, baseMs * 2 ** Math.max(0, attempt - 1));
  return Math.round(retryAfterMs + 50 + random * ceiling);
}

export interface Answered {
  outcome: NotAccepted;
  /** The request that was answered. */
  attempt: number;
  /** The intent as it is now, and its open requests, the answered one as recorded. */
  intent: Intent;
  open: readonly OpenAttempt[];
}

/**
 * What an answer other than yes means. The intent may have moved on: a process that was frozen can come back with an
 * older request than the present one. Then its answer is on record, and decides nothing.
 * @returns the phase that follows, `failed` for the definite end, and when to go on; undefined: no change, nothing to do
 */
export function decideAnswer(
  { outcome, attempt, intent, open }: Answered,
  { lookAtMs, backoffBaseMs }: EffectTimings,
  random: number,
): { phase?: 'requested' | 'unknown' | 'failed'; delayMs?: number } {
  if (isOver(intent)) return {};
  const decides = intent.attempt === attempt && intent.phase === 'submitting';
  const next = <P extends Phase | 'failed'>(phase: P) => (decides ? phase : undefined);
  switch (outcome.kind) {
    case 'refused':
      return { phase: next('failed') };
    case 'not_processed':
      // An earlier request may still turn out to have worked: then the next one is a resend, and looks first.
      return {
        phase: next(open.length > 0 ? 'unknown' : 'requested'),
        delayMs: backoffMs(attempt, random, backoffBaseMs, outcome.retryAfterMs),
      };
    case 'unknown':
      return { phase: next('unknown'), delayMs: nextLookInMs(lookAtMs, open.at(-1)?.age_ms ?? 0) ?? 0 };
  }
}

export interface Looked {
  /** How long the provider took to answer; undefined when it could not be asked. */
  tookMs: number | undefined;
  /** As it was before the look, and as it is now. */
  before: Intent;
  now: Intent;
  /** The open requests, with their ages before the look. */
  open: readonly OpenAttempt[];
}

/** What it means that an effect was not found; a number is the wait until the next look, in ms. */
export function decideAbsence(
  { tookMs, before, now, open }: Looked,
  timings: EffectTimings,
  random: number,
): 'absent' | 'needs_review' | number {
  const last = open.at(-1);
  if (!last || now.attempt !== before.attempt) return firstLookMs(timings);
  if (tookMs === undefined) {
    return isTooLate(before, timings) ? 'needs_review' : backoffMs(BLIND_ATTEMPT, random, timings.backoffBaseMs);
  }
  const nextLook = nextLookInMs(timings.lookAtMs, last.age_ms);
  if (nextLook !== undefined) return Math.max(0, Math.ceil(nextLook - tookMs));
  // Who redrives a dead letter has looked, and wants it done.
  const isRedriven = before.phase === 'needs_review';
  return open.length > timings.maxResends && !isRedriven ? 'needs_review' : 'absent';
}

/** Nothing is to be done unless somebody wants it done again. */
export function isOver({ phase }: Intent): boolean {
  return phase === 'settled' || phase === 'refused';
}

export function isTooLate({ age_ms }: Intent, { tooLateMs }: EffectTimings): boolean {
  return age_ms > tooLateMs;
}

/** When somebody has to come back for what another process is just doing: it may die. */
export function firstLookMs({ lookAtMs }: EffectTimings): number {
  return lookAtMs[0] ?? 0;
}

/** Whether something of this age can come from a request of ours, the first of which is so old. */
export function isOfOurTime(ageMs: number, firstRequestAgeMs: number): boolean {
  return ageMs <= firstRequestAgeMs + AGE_TOLERANCE_MS;
}

/** The request that brought something of this age: the nearest one. Undefined when there are none. */
export function attemptOf(ageMs: number, attempts: readonly OpenAttempt[]): OpenAttempt | undefined {
  const distance = (attempt: OpenAttempt) => Math.abs(attempt.age_ms - ageMs);
  return attempts.toSorted((a, b) => distance(a) - distance(b))[0];
}

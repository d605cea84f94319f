import { AppError, errorCode } from '../../common/errors/app-error.js';
import { redactText } from '../../common/logging/redactor.js';
import { Snooze } from './outbox.errors.js';

/** After the sixth failed attempt a delivery is a dead letter. */
export const MAX_ATTEMPTS = 6;
/**
 * Runs begun and never ended, the last two of them alone in their process: a poison message, whatever its error budget
 * says.
 */
export const MAX_UNFINISHED_STARTS = 4;
const CAP_MS = 30_000;
/** About how long a delivery waits that failed for no fault of its own. */
const UNBLAMED_MS = 500;
/** No error may put a delivery further away than this; later than that is what `dueAt` is for. */
const MAX_DELAY_MS = 7 * 86_400_000;

export type FailureDecision =
  | { kind: 'snooze'; delayMs: number }
  | { kind: 'retry'; delayMs: number }
  | { kind: 'dead_letter'; reason: 'attempts_exhausted' | 'permanent' };

/**
 * What a failed run means.
 * @param finishedAttempts failed attempts, this one included
 * @param random in [0, 1): full jitter spreads retries over the whole interval
 */
export function decideFailure(
  error: unknown,
  finishedAttempts: number,
  baseMs: number,
  random: number,
): FailureDecision {
  if (error instanceof Snooze) return { kind: 'snooze', delayMs: bounded(error.delayMs) };
  const retry = error instanceof AppError ? error.retry : 'retryable';
  if (retry === 'unblamed') return { kind: 'snooze', delayMs: Math.round(UNBLAMED_MS * (0.5 + random)) };
  if (retry === 'permanent') return { kind: 'dead_letter', reason: 'permanent' };
  if (finishedAttempts >= MAX_ATTEMPTS) return { kind: 'dead_letter', reason: 'attempts_exhausted' };
  if (typeof retry === 'object') return { kind: 'retry', delayMs: bounded(retry.afterMs) };
  return { kind: 'retry', delayMs: Math.round(random * backoffCeilingMs(finishedAttempts, baseMs)) };
}

/** Exponential from `baseMs`, capped at 30 s: the upper end of the jitter after so many failures. */
export function backoffCeilingMs(failures: number, baseMs: number): number {
  return Math.min(CAP_MS, baseMs * 2 ** Math.max(0, failures - 1));
}

/** What an error asks for may have come from a provider's header. */
function bounded(delayMs: number): number {
  return Number.isFinite(delayMs) ? Math.round(Math.min(Math.max(0, delayMs), MAX_DELAY_MS)) : CAP_MS;
}

/**
 * Groups dead letters: the code and the shape of the message, with every number and id taken out. Redacted before it is
 * kept, so that it can be shown, and what is shown names the group.
 */
export function fingerprintOf(error: unknown): string {
  const message = redactText(error instanceof Error ? error.message : String(error));
  const shape = message.replace(/[0-9a-f]{8}-[0-9a-f-]{27}/gi, '<id>').replace(/\d+/g, '<n>');
  return redactText(redactText(`${errorCode(error)}: ${shape}`).slice(0, 200));
}

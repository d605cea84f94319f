import type { Transaction } from '../database/database.js';

/**
 * Where an intent is. `submitting`: a request is under way, or its process died. `unknown`: the provider may have done
 * it. `needs_review`: a person has to look. `refused`: it failed for something that a person may have repaired since.
 * `settled`: done, or definitely not.
 */
export type Phase = 'requested' | 'submitting' | 'unknown' | 'needs_review' | 'refused' | 'settled';

/** One thing that a provider shall do once, as SQL answers it; it exists before the provider is asked. */
export interface Intent {
  readonly phase: Phase;
  /** Number of the latest request, 0 before the first: the fence. */
  readonly attempt: number;
  /** Since it became due. */
  readonly age_ms: number;
}

/** A request that may have had its effect without anybody having told us, and its age. */
export interface OpenAttempt {
  readonly attempt: number;
  readonly age_ms: number;
}

/**
 * What became of a request. `refused`: a definite no that a retry cannot change;
 * repairable, when a person can. `not_processed`: it certainly had no
 * effect and may be repeated. `unknown`: perhaps. When in doubt between the last two, it is `unknown`.
 */
export type Outcome<Receipt> =
  | { kind: 'accepted'; receipt: Receipt }
  | { kind: 'refused'; httpStatus: string; reason: string; isRepairable?: boolean; errorCode?: number }
  | { kind: 'not_processed'; httpStatus: string; errorCode?: number; retryAfterMs?: number }
  | { kind: 'unknown'; httpStatus: string };

export type NotAccepted = Exclude<Outcome<never>, { kind: 'accepted' }>;

/** Why an intent will not be carried out. */
export interface Failure {
  reason: string;
  errorCode?: number;
}

/** Something at the provider that is what an intent asks for. */
export interface Found<Receipt> {
  receipt: Receipt;
  /** Since its creation, by the provider's own clock. */
  ageMs: number;
}

export interface EffectTimings {
  /** A process that was frozen for longer than this around its marker must not ask: others may have taken over. */
  staleMarkerMs: number;
  /**
   * When to look for an effect whose outcome is unknown, since its request; absent at the last look is absent. The last
   * one must come after a marker that is just not stale and a request of full length.
   */
  lookAtMs: readonly number[];
  /** First ceiling of the jitter while the provider takes nothing; it doubles up to ten seconds. */
  backoffBaseMs: number;
  /** An intent that is this old is not carried out any more. */
  tooLateMs: number;
  /** Repeated requests after ambiguous ones; beyond, a person looks. */
  maxResends: number;
}

/**
 * What `EffectivelyOnce` has to know of one kind of effect: how the provider is asked and looked at, and how its owner
 * keeps the record. Whatever takes a transaction records and announces in it, and calls no provider.
 */
export interface Effect<I extends Intent, Receipt> {
  /** The context that owns it; prefix of its error codes. */
  readonly context: string;
  timings(intent: I): EffectTimings;

  /** @throws PermanentFailure when there is no such intent */
  read(id: string): Promise<I>;
  /** The intent, locked, and before it whatever goes first in everybody's lock order for these receipts. */
  lock(tx: Transaction, id: string, receipts?: readonly Receipt[]): Promise<I | undefined>;

  /**
   * What must be there before the marker is set: credentials, a switch that is on.
   * @returns the request, to be made at most once, never throwing
   * @throws Snooze to wait without having asked
   */
  prepare(intent: I): Promise<(attempt: number) => Promise<Outcome<Receipt>>>;
  /** The last word before the marker: a reason why it must not happen any more. */
  objection(tx: Transaction, intent: I): Promise<string | undefined>;
  /**
   * Records that the next request is about to be made; `resend`: after an ambiguous one.
   * @returns its number, or undefined when another process is ahead
   */
  mark(tx: Transaction, intent: I, resend: boolean): Promise<number | undefined>;

  /** Requests that are marked or ambiguous and have no receipt, oldest first. */
  openAttempts(id: string, tx?: Transaction): Promise<OpenAttempt[]>;
  /**
   * Everything at the provider that may be what the intent asks for, oldest first.
   * @returns undefined when the provider could not be asked: then nothing is known to be absent
   */
  look(intent: I): Promise<Found<Receipt>[] | undefined>;
  /** Those of `found` that are not known to belong to another intent. */
  unclaimed(tx: Transaction, intent: I, found: readonly Found<Receipt>[]): Promise<readonly Found<Receipt>[]>;

  /** It happened; `intent` is locked, and may be settled already: then this is a second effect, or old news. */
  accept(tx: Transaction, intent: I, attempt: number, receipt: Receipt): Promise<void>;
  /** Keeps what became of a request; it may be an older one, and decides nothing by itself. */
  record(tx: Transaction, intent: I, attempt: number, outcome: NotAccepted): Promise<void>;
  setPhase(tx: Transaction, intent: I, phase: 'requested' | 'unknown' | 'needs_review'): Promise<void>;
  /** It will definitely not happen, unless what it was refused for is repaired. */
  fail(tx: Transaction, intent: I, failure: Failure): Promise<void>;
}

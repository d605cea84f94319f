import type { Phase } from '../../infra/effects/effect.js';
import { classifyTwilioError, type TwilioErrorClass } from '../integrations/twilio/twilio-error-codes.js';
import type { MessageState } from './delivery-state.policy.js';

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
export const TOO_LATE_MS: Record<Purpose, number> = { first_reply: 60 * 60_000 };
/** Seconds a text may wait inside the provider: no zombie arrives hours later. */
export const VALIDITY_SECONDS: Record<Purpose, number> = { first_reply: 300 };
/** Resends after ambiguous outcomes, each flagged and counted; beyond, a person looks. */
export const MAX_RESENDS = 3;

/**
 * Whether a refusal is about the account and not about this text or its reader: then a person repairs the account, and
 * the text can be sent after all.
 */
export function isRepairable(errorClass: TwilioErrorClass): boolean {
  return errorClass === 'configuration' || errorClass === 'suspended' || errorClass === 'not_registered';
}

export interface Sent {
  state: MessageState;
  accepted_at: Date | null;
  error_code: number | null;
}

/** Where a text is in the sending protocol. */
export function phaseOf({ state, accepted_at, error_code }: Sent): Phase {
  if (accepted_at) return 'settled';
  if (state === 'requested' || state === 'submitting' || state === 'unknown' || state === 'needs_review') return state;
  const isRefused = state === 'failed' && isRepairable(classifyTwilioError(error_code ?? undefined).class);
  return isRefused ? 'refused' : 'settled';
}

export interface Candidate {
  body: string;
  from: string | null;
  messagingServiceSid: string | null;
}

export interface Sought {
  body: string;
  business_number: string;
  messaging_service_sid: string | null;
}

/** Whether a text in the provider's list has the sender and the words of one that we asked for. */
export function isSame(candidate: Candidate, sought: Sought): boolean {
  const sameSender = sought.messaging_service_sid
    ? candidate.messagingServiceSid === sought.messaging_service_sid
    : candidate.from === sought.business_number;
  return sameSender && candidate.body === sought.body;
}

/** What one webhook says about a call: settled as missed, settled as answered, or not settled by this one. */
export type CallOutcome = 'missed' | 'answered' | 'undetermined';

/** One webhook about a call, with what is known of the call so far. */
export interface CallEvidence {
  /** `forward_target`: the owner's phone forwards to us. `dial_owner`: we ring the owner. */
  voiceMode: 'forward_target' | 'dial_owner';
  /** Which webhook speaks. */
  source: 'voice' | 'dial_result' | 'voice_status';
  /** `DialCallStatus` of a dial result, else `CallStatus`, as received. */
  status: string;
  /** `CallDuration` of a voice status, in seconds. */
  durationSeconds?: number;
  /** Completed calls shorter than this count as missed; undefined, the default, switches the rule off. */
  shortCallSeconds?: number;
  /** An earlier webhook of this call settled it as answered. */
  alreadyAnswered: boolean;
  /** Our answer to the voice webhook rings the owner. At that webhook: the answer that is about to be given. */
  dialed: boolean;
}

const NOBODY_ANSWERED: ReadonlySet<string> = new Set(['busy', 'no-answer', 'failed', 'canceled']);
const SOMEBODY_ANSWERED: ReadonlySet<string> = new Set(['completed', 'answered']);

/**
 * Tells whether a webhook settles a call as missed.
 *
 * The webhooks of a call come late, twice and in any order, so this judges each one by itself; that a call is decided
 * once is the caller's business. An answered call stays answered, and a status that Twilio adds one day settles nothing.
 */
export function determineCall(evidence: CallEvidence): CallOutcome {
  if (evidence.alreadyAnswered) return 'answered';
  switch (evidence.source) {
    case 'voice':
      return ringsNobody(evidence) ? 'missed' : 'undetermined';
    case 'dial_result':
      return ofDialResult(evidence.status);
    case 'voice_status':
      return ofVoiceStatus(evidence);
  }
}

/** A forwarded call was missed before it reached us; a call that we do not pass on has nobody to answer it. */
function ringsNobody({ voiceMode, dialed }: CallEvidence): boolean {
  return voiceMode === 'forward_target' || !dialed;
}

function ofDialResult(status: string): CallOutcome {
  if (NOBODY_ANSWERED.has(status)) return 'missed';
  return SOMEBODY_ANSWERED.has(status) ? 'answered' : 'undetermined';
}

/** `completed` alone proves nothing: a greeting of ours or the owner's voicemail completes a call as well. */
function ofVoiceStatus(evidence: CallEvidence): CallOutcome {
  if (NOBODY_ANSWERED.has(evidence.status)) return 'missed';
  if (evidence.status !== 'completed') return 'undetermined';
  return evidence.voiceMode === 'forward_target' || isShort(evidence) ? 'missed' : 'undetermined';
}

function isShort({ durationSeconds, shortCallSeconds }: CallEvidence): boolean {
  return durationSeconds !== undefined && shortCallSeconds !== undefined && durationSeconds < shortCallSeconds;
}

/**
 * The states of an outbound message, each one further than those before it.
 *
 * `requested`, `submitting`, `unknown` (the provider may or may not have it) and `needs_review` (reconciliation could
 * not tell) are ours; the rest are Twilio's words. The order is total, so that reports may come in any order: of two
 * end states that contradict each other the better evidence wins, and a receipt of delivery beats every failure.
 */
export const MESSAGE_STATES = [
  'requested',
  'submitting',
  'unknown',
  'needs_review',
  'accepted',
  'scheduled',
  'queued',
  'sending',
  'sent',
  'canceled',
  'failed',
  'undelivered',
  'delivered',
  'read',
] as const;

export type MessageState = (typeof MESSAGE_STATES)[number];

const POSITION: ReadonlyMap<string, number> = new Map(MESSAGE_STATES.map((state, position) => [state, position]));

/**
 * The state after a report: the further one of the two.
 *
 * Callbacks come late, twice and out of order; a report that is behind, or a status that we do not know, changes
 * nothing. Applied to any set of reports in any order, the result is the same.
 */
export function advance(current: MessageState, reported: string): MessageState {
  return isMessageState(reported) && positionOf(reported) > positionOf(current) ? reported : current;
}

/** Whether a word is one of our message states; providers add theirs without notice. */
export function isMessageState(word: string): word is MessageState {
  return POSITION.has(word);
}

/** Whether nothing more is expected of the provider. Better evidence may still correct it. */
export function isFinal(state: MessageState): boolean {
  return positionOf(state) >= positionOf('canceled');
}

function positionOf(state: MessageState): number {
  return POSITION.get(state) ?? 0;
}

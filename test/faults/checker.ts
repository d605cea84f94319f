import { advance, isMessageState, type MessageState } from '../../src/telephony/messages/delivery-state.policy.js';

/** A call as its caller knows it. */
export interface PlacedCall {
  callSid: string;
  caller: string;
  /** Whether any of its webhooks was answered 2xx: from then on a text is promised. */
  acknowledged: boolean;
}

/** What happened, as the database and the provider's own ledger have it; both in the order of the events. */
export interface Evidence {
  /** In the order in which they were placed; those of one caller one after the other. */
  placed: readonly PlacedCall[];
  calls: readonly { callSid: string; decision: string | null }[];
  intents: readonly {
    messageId: string;
    callSid: string;
    state: string;
    sid: string | null;
    attempt: number;
    resends: number;
  }[];
  attempts: readonly { messageId: string; attempt: number; resend: boolean; outcome: string; sid: string | null }[];
  events: readonly { eventId: string; name: string; messageId: string | null; state: string | null }[];
  /** What became of the deliveries of an event; `open` are still in the table. */
  deliveries: readonly {
    eventId: string;
    subscriber: string;
    outcome: 'done' | 'dead' | 'open';
    owner: number | null;
  }[];
  /** Reasons of the dead letters about a text. */
  deadLetters: readonly { callSid: string | null; errorCode: string }[];
  /** Create requests that reached the provider. */
  requests: readonly { messageId: string; attempt: number }[];
  /** Texts that the provider accepted. */
  texts: readonly { messageId: string; sid: string }[];
}

export interface CheckOptions {
  /** Whether some accepted texts were invisible until after the last look: then a recorded resend may be a double. */
  resendsMayDouble?: boolean;
  /** Error codes of dead letters that the faults themselves bring about. */
  expectedDeadLetters?: readonly string[];
}

/** What must not be: N, nothing lost · D, nothing twice · O, in order · S, no illegal state · L, nothing left. */
export interface Violation {
  property: 'N' | 'D' | 'O' | 'S' | 'L';
  what: string;
}

/** Compares what happened with what was promised. No violation: the promise was kept. */
export function check(evidence: Evidence, options: CheckOptions = {}): Violation[] {
  return [
    ...nothingLost(evidence, options),
    ...nothingTwice(evidence, options),
    ...inOrder(evidence),
    ...legalStates(evidence),
    ...nothingLeft(evidence),
  ];
}

/** Whether nothing more is going to happen: only then a verdict means something. */
export function isSettled({ deliveries, intents, placed, calls }: Evidence): boolean {
  const known = new Map(calls.map((call) => [call.callSid, call]));
  return (
    deliveries.every(({ outcome }) => outcome !== 'open') &&
    intents.every(({ state }) => isDone(state)) &&
    placed.every((call) => !call.acknowledged || known.get(call.callSid)?.decision != null)
  );
}

function nothingLost(evidence: Evidence, { expectedDeadLetters = [] }: CheckOptions): Violation[] {
  const decisions = new Map(evidence.calls.map(({ callSid, decision }) => [callSid, decision]));
  const intents = groupBy(evidence.intents, ({ callSid }) => callSid);
  const textsBySid = new Map(evidence.texts.map((text) => [text.sid, text]));
  const dead = new Set(evidence.deadLetters.map(({ callSid }) => callSid));
  const found: string[] = [];
  for (const { callSid, acknowledged } of evidence.placed) {
    const decision = decisions.get(callSid);
    const count = intents.get(callSid)?.length ?? 0;
    if (acknowledged && decision == null) found.push(`the acknowledged call ${callSid} is not there, or not decided`);
    // A handler that was given up on before it recorded the intent is on record itself.
    if (decision === 'reply' && count !== 1 && !dead.has(callSid)) {
      found.push(`the call ${callSid} has ${count} intents`);
    }
  }
  for (const { messageId, state, sid, callSid } of evidence.intents) {
    if (!isDone(state) && !dead.has(callSid)) found.push(`the text ${messageId} is still ${state}`);
    if (state === 'needs_review' && !dead.has(callSid)) found.push(`nobody is told to review ${messageId}`);
    if (isAccepted(state) && textsBySid.get(sid ?? '')?.messageId !== messageId) {
      found.push(`the text ${messageId} is ${state} with a sid that the provider has not, or not for it`);
    }
    const isRefused = evidence.events.some((event) => event.messageId === messageId && /SmsFailed$/.test(event.name));
    if (state === 'failed' && sid === null && !isRefused) found.push(`the text ${messageId} failed for no reason`);
  }
  for (const { errorCode, callSid } of evidence.deadLetters) {
    if (!expectedDeadLetters.includes(errorCode)) found.push(`a dead letter, ${errorCode}, of ${callSid ?? 'no call'}`);
  }
  return named('N', found);
}

function nothingTwice(evidence: Evidence, { resendsMayDouble = false }: CheckOptions): Violation[] {
  const texts = groupBy(evidence.texts, ({ messageId }) => messageId);
  const known = new Set(evidence.intents.map(({ messageId }) => messageId));
  const recorded = new Set(evidence.attempts.map(keyOf));
  const found: string[] = [];
  for (const [messageId, sent] of texts) {
    if (!known.has(messageId)) found.push(`the provider has a text of ${messageId}, which nobody asked for`);
    const resends = evidence.attempts.filter((attempt) => attempt.messageId === messageId && attempt.resend).length;
    const allowed = resendsMayDouble ? 1 + resends : 1;
    if (sent.length > allowed) found.push(`the text ${messageId} was sent ${sent.length} times, ${resends} resends`);
  }
  const pairs = groupBy(evidence.requests, keyOf);
  for (const [key, requests] of pairs) {
    if (!recorded.has(key)) found.push(`the request ${key} reached the provider unrecorded`);
    if (requests.length > 1) found.push(`the request ${key} reached the provider ${requests.length} times`);
  }
  return named('D', found);
}

function inOrder(evidence: Evidence): Violation[] {
  const positions = new Map<string, number>();
  for (const [position, { messageId }] of evidence.texts.entries()) {
    if (!positions.has(messageId)) positions.set(messageId, position);
  }
  const intents = new Map(evidence.intents.map((intent) => [intent.callSid, intent]));
  const found: string[] = [];
  for (const [, calls] of groupBy(evidence.placed, ({ caller }) => caller)) {
    let last = -1;
    for (const { callSid } of calls) {
      const intent = intents.get(callSid);
      const position = positions.get(intent?.messageId ?? '');
      // An earlier one that was given up keeps nobody waiting.
      if (position === undefined || !intent || !isAccepted(intent.state)) continue;
      if (position < last) found.push(`the text ${intent.messageId} overtook an earlier one to the same caller`);
      last = Math.max(last, position);
    }
  }
  return named('O', found);
}

function legalStates(evidence: Evidence): Violation[] {
  const found: string[] = [];
  const attempts = groupBy(evidence.attempts, ({ messageId }) => messageId);
  const events = groupBy(evidence.events, ({ messageId }) => messageId ?? '');
  for (const { messageId, state, sid, attempt, resends } of evidence.intents) {
    const own = attempts.get(messageId) ?? [];
    const numbers = own.map((one) => one.attempt);
    if (numbers.some((number, index) => number !== index + 1) || numbers.length !== attempt) {
      found.push(`the attempts of ${messageId} are ${numbers.join(', ')}, and it counts ${attempt}`);
    }
    if (own.filter(({ resend }) => resend).length !== resends || own[0]?.resend) {
      found.push(`the resends of ${messageId} are miscounted`);
    }
    const announced = (events.get(messageId) ?? []).filter(({ name }) => /SmsQueued$/.test(name)).length;
    if (announced !== (sid === null ? 0 : 1))
      found.push(`the acceptance of ${messageId} was announced ${announced} times`);
    if (!isMessageState(state)) found.push(`the text ${messageId} is ${state}, which is no state`);
    let reached: MessageState = 'accepted';
    for (const event of events.get(messageId) ?? []) {
      if (!event.state) continue;
      const next = advance(reached, event.state);
      if (next === reached) found.push(`the text ${messageId} went from ${reached} back to ${event.state}`);
      reached = next;
    }
  }
  return named('S', found);
}

function nothingLeft(evidence: Evidence): Violation[] {
  const found = evidence.deliveries
    .filter(({ outcome }) => outcome === 'open')
    .map(
      ({ subscriber, owner }) => `a delivery to ${subscriber} is left${owner === null ? '' : `, owned by ${owner}`}`,
    );
  const names = new Map(evidence.events.map(({ eventId, name }) => [eventId, name]));
  const subscribers = new Map<string, Set<string>>();
  for (const { eventId, subscriber } of evidence.deliveries) {
    const name = names.get(eventId) ?? '';
    subscribers.set(name, (subscribers.get(name) ?? new Set()).add(subscriber));
  }
  const byEvent = groupBy(evidence.deliveries, ({ eventId }) => eventId);
  for (const { eventId, name } of evidence.events) {
    const own = (byEvent.get(eventId) ?? []).map(({ subscriber }) => subscriber);
    for (const subscriber of subscribers.get(name) ?? []) {
      const count = own.filter((one) => one === subscriber).length;
      if (count !== 1) found.push(`the event ${eventId} was concluded ${count} times for ${subscriber}`);
    }
  }
  return named('L', found);
}

function isAccepted(state: string): boolean {
  return isMessageState(state) && state !== 'failed' && advance('needs_review', state) !== 'needs_review';
}

function isDone(state: string): boolean {
  return isAccepted(state) || state === 'failed' || state === 'needs_review';
}

function keyOf({ messageId, attempt }: { messageId: string; attempt: number }): string {
  return `${messageId}/${attempt}`;
}

function named(property: Violation['property'], found: readonly string[]): Violation[] {
  return found.map((what) => ({ property, what }));
}

function groupBy<T, Key>(items: readonly T[], key: (item: T) => Key): Map<Key, T[]> {
  const groups = new Map<Key, T[]>();
  for (const item of items) {
    const group = groups.get(key(item));
    if (group) group.push(item);
    else groups.set(key(item), [item]);
  }
  return groups;
}

import { type CheckOptions, check, type Evidence, isSettled, type Violation } from './checker.js';

/** Two calls of one caller and one of another, each with its text: as it should be. */
function kept() {
  const of = (n: number) => ({ callSid: `CA${n}`, messageId: `m${n}`, sid: `SM${n}` });
  const numbers = [1, 2, 3];
  return {
    placed: numbers.map((n) => ({
      callSid: of(n).callSid,
      caller: n < 3 ? 'ann' : 'bob',
      acknowledged: true as boolean,
    })),
    calls: numbers.map((n) => ({ callSid: of(n).callSid, decision: 'reply' as string | null })),
    intents: numbers.map((n) => ({
      ...of(n),
      sid: of(n).sid as string | null,
      state: 'delivered',
      attempt: 1,
      resends: 0,
    })),
    attempts: numbers.map((n) => ({
      ...of(n),
      sid: of(n).sid as string | null,
      attempt: 1,
      resend: false as boolean,
      outcome: 'accepted',
    })),
    events: numbers.flatMap((n) => {
      const event = (name: string, state: string | null = null) => ({
        eventId: `${name}${n}`,
        name,
        messageId: `m${n}`,
        state,
      });
      return [event('SmsQueued'), event('DeliveryUpdated', 'sent'), event('DeliveryUpdatedAgain', 'delivered')];
    }),
    deliveries: numbers.map((n) => ({
      eventId: `SmsQueued${n}`,
      subscriber: 'reporting.tracker',
      outcome: 'done' as 'done' | 'dead' | 'open',
      owner: null as number | null,
    })),
    deadLetters: [] as { callSid: string | null; errorCode: string }[],
    requests: numbers.map((n) => ({ messageId: of(n).messageId, attempt: 1 })),
    texts: numbers.map((n) => ({ messageId: of(n).messageId, sid: of(n).sid })),
  } satisfies Evidence;
}

type Kept = ReturnType<typeof kept>;
const at = <T>(list: T[], index: number): T => {
  const item = list[index];
  if (item === undefined) throw new Error('there is none');
  return item;
};
const second = { callSid: 'CA1', messageId: 'm1', attempt: 2, resend: true, outcome: 'accepted_twice', sid: 'SM9' };

it('finds nothing where every promise was kept', () => {
  expect(check(kept())).toEqual([]);
  expect(isSettled(kept())).toBe(true);
});

it.each<[property: Violation['property'], what: string, plant: (evidence: Kept) => void, part: string]>([
  ['N', 'an acknowledged call that is gone', (e) => void e.calls.splice(0, 1), 'CA1 is not there'],
  [
    'N',
    'a call that nobody decided',
    (e) => void Object.assign(at(e.calls, 0), { decision: null }),
    'CA1 is not there, or not decided',
  ],
  ['N', 'a call without a text', (e) => void e.intents.splice(2, 1), 'CA3 has 0 intents'],
  [
    'N',
    'a call with two texts',
    (e) => void e.intents.push({ ...at(e.intents, 2), messageId: 'm9' }),
    'CA3 has 2 intents',
  ],
  [
    'N',
    'a text that was never concluded',
    (e) => void Object.assign(at(e.intents, 1), { state: 'submitting' }),
    'm2 is still submitting',
  ],
  [
    'N',
    'a text that nobody is told to review',
    (e) => void Object.assign(at(e.intents, 1), { state: 'needs_review' }),
    'nobody is told',
  ],
  [
    'N',
    'an acceptance that the provider knows nothing of',
    (e) => void e.texts.splice(1, 1),
    'm2 is delivered with a sid',
  ],
  [
    'N',
    'a failure without a reason',
    (e) => void Object.assign(at(e.intents, 1), { state: 'failed', sid: null }),
    'm2 failed for no',
  ],
  ['N', 'a dead letter', (e) => void e.deadLetters.push({ callSid: 'CA1', errorCode: 'x.y' }), 'a dead letter, x.y'],
  ['D', 'a second text', (e) => void e.texts.push({ messageId: 'm1', sid: 'SM9' }), 'm1 was sent 2 times, 0 resends'],
  [
    'D',
    'a text that nobody asked for',
    (e) => void e.texts.push({ messageId: 'm9', sid: 'SM9' }),
    'which nobody asked for',
  ],
  ['D', 'a request that was not recorded', (e) => void e.attempts.splice(0, 1), 'm1/1 reached the provider unrecorded'],
  [
    'D',
    'a request that came twice',
    (e) => void e.requests.push(at(e.requests, 0)),
    'm1/1 reached the provider 2 times',
  ],
  ['O', 'a text that overtook another', (e) => void e.texts.reverse(), 'm2 overtook'],
  [
    'S',
    'an attempt that was left out',
    (e) => void Object.assign(at(e.attempts, 0), { attempt: 2 }),
    'the attempts of m1 are 2',
  ],
  [
    'S',
    'a resend that was not counted',
    (e) => void Object.assign(at(e.intents, 0), { resends: 1 }),
    'the resends of m1 are miscounted',
  ],
  ['S', 'an acceptance announced twice', (e) => void e.events.push(at(e.events, 0)), 'm1 was announced 2 times'],
  ['S', 'a state that went back', (e) => void e.events.reverse(), 'back to sent'],
  [
    'S',
    'a state that does not exist',
    (e) => void Object.assign(at(e.intents, 0), { state: 'lost' }),
    'which is no state',
  ],
  [
    'L',
    'a delivery that is left',
    (e) => void Object.assign(at(e.deliveries, 0), { outcome: 'open', owner: 7 }),
    'owned by 7',
  ],
  ['L', 'an event that nobody was told of', (e) => void e.deliveries.splice(0, 1), 'SmsQueued1 was concluded 0 times'],
  [
    'L',
    'an event concluded twice',
    (e) => void e.deliveries.push(at(e.deliveries, 0)),
    'SmsQueued1 was concluded 2 times',
  ],
])('%s: finds %s', (property, _what, plant, part) => {
  const evidence = kept();
  plant(evidence);
  expect(check(evidence)).toContainEqual({ property, what: expect.stringContaining(part) });
});

it.each<[what: string, options: CheckOptions, plant: (evidence: Kept) => void]>([
  [
    'a recorded resend where texts were invisible',
    { resendsMayDouble: true },
    (e) => {
      e.texts.push({ messageId: 'm1', sid: 'SM9' });
      e.requests.push({ messageId: 'm1', attempt: 2 });
      e.attempts.splice(1, 0, second);
      Object.assign(at(e.intents, 0), { attempt: 2, resends: 1 });
    },
  ],
  [
    'a text that a person reviews',
    { expectedDeadLetters: ['telephony.needs_review'] },
    (e) => {
      Object.assign(at(e.intents, 2), { state: 'needs_review', sid: null });
      e.texts.splice(2, 1);
      e.events.splice(6, 3);
      e.deliveries.splice(2, 1);
      e.deadLetters.push({ callSid: 'CA3', errorCode: 'telephony.needs_review' });
    },
  ],
  [
    'a call that was never acknowledged',
    {},
    (e) => void e.placed.push({ callSid: 'CA4', caller: 'cid', acknowledged: false }),
  ],
])('lets pass %s', (_what, options, plant) => {
  const evidence = kept();
  plant(evidence);
  expect(check(evidence, options)).toEqual([]);
});

it.each<[what: string, plant: (evidence: Kept) => void]>([
  ['a delivery is open', (e) => void Object.assign(at(e.deliveries, 0), { outcome: 'open' })],
  ['a text is under way', (e) => void Object.assign(at(e.intents, 0), { state: 'unknown' })],
  ['an acknowledged call is not decided', (e) => void Object.assign(at(e.calls, 0), { decision: null })],
])('is not settled while %s', (_what, plant) => {
  const evidence = kept();
  plant(evidence);
  expect(isSettled(evidence)).toBe(false);
});

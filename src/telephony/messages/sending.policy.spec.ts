import { classifyTwilioError } from '../integrations/twilio/twilio-error-codes.js';
import { MESSAGE_STATES } from './delivery-state.policy.js';
import {
  type Candidate,
  isRepairable,
  isSame,
  phaseOf,
  SendingTimings,
  type Sought,
  VALIDITY_SECONDS,
} from './sending.policy.js';

describe('looking for a text whose outcome is unknown', () => {
  const timings = new SendingTimings();
  const lastLookMs = timings.lookAtMs.first_reply.at(-1) ?? 0;

  it('ends only when no request of ours can still be on its way', () => {
    expect(lastLookMs).toBeGreaterThan(timings.staleMarkerMs + timings.requestTimeoutMs);
  });

  it('is over long before the provider itself forgets the text', () => {
    expect(lastLookMs / 1_000).toBeLessThan(VALIDITY_SECONDS.first_reply);
  });
});

describe('a text in the list has our sender and our words', () => {
  const sought: Sought = {
    body: 'Sorry we missed you',
    business_number: '+12125550100',
    messaging_service_sid: null,
  };
  const candidate: Candidate = { body: sought.body, from: sought.business_number, messagingServiceSid: null };
  const service = `MG${'0'.repeat(32)}`;
  const through = { messaging_service_sid: service };

  it.each<[string, Partial<Candidate>, Partial<Sought>, boolean]>([
    ['the same in everything', {}, {}, true],
    ['other words', { body: 'Sorry we missed you.' }, {}, false],
    ['another sender', { from: '+12125550101' }, {}, false],
    ['through the service', { messagingServiceSid: service, from: null }, through, true],
    ['through the service, its sender chosen', { messagingServiceSid: service }, through, true],
    ['past the service', {}, through, false],
    ['through another service', { messagingServiceSid: `MG${'1'.repeat(32)}` }, through, false],
  ])('%s', (_case, ofCandidate, ofSought, same) => {
    expect(isSame({ ...candidate, ...ofCandidate }, { ...sought, ...ofSought })).toBe(same);
  });
});

describe('a refusal', () => {
  it('can be repaired where it is about the account, not about the text or its reader', () => {
    const repairable = [20003, 21606, 30002, 30034].map((code) => isRepairable(classifyTwilioError(code).class));
    expect(repairable).toEqual([true, true, true, true]);
    const final = [21211, 21610, 21614, 21617, undefined].map((code) => isRepairable(classifyTwilioError(code).class));
    expect(final).toEqual([false, false, false, false, false]);
  });
});

describe('where a text is in the protocol', () => {
  const fresh = { accepted_at: null, error_code: null };

  it('is its state until the provider has it, and settled from then on, whatever becomes of it', () => {
    const open = MESSAGE_STATES.filter((state) => phaseOf({ ...fresh, state }) === state);
    expect(open).toEqual(['requested', 'submitting', 'unknown', 'needs_review']);
    for (const state of MESSAGE_STATES) expect(phaseOf({ ...fresh, state, accepted_at: new Date() })).toBe('settled');
  });

  it.each([
    [21606, 'refused'],
    [21211, 'settled'],
    [null, 'settled'],
  ])('after a failure with %s: %s', (error_code, phase) => {
    expect(phaseOf({ ...fresh, state: 'failed', error_code })).toBe(phase);
  });
});

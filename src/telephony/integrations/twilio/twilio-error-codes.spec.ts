import { classifyTwilioError, KNOWN_ERROR_CODES } from './twilio-error-codes.js';

describe('classifyTwilioError', () => {
  it.each([
    [21211, 'invalid_number', 'never'],
    [21610, 'opted_out', 'never'],
    [21614, 'landline', 'never'],
    [30006, 'landline', 'never'],
    [30007, 'filtered', 'never'],
    [30034, 'not_registered', 'never'],
    [21617, 'our_bug', 'never'],
    [30002, 'suspended', 'never'],
    [30036, 'expired', 'never'],
    [20003, 'configuration', 'later'],
    [20429, 'rate', 'later'],
    [30003, 'transient', 'later'],
    [30008, 'transient', 'later'],
  ])('reads %i as %s, retry %s', (code, errorClass, retry) => {
    expect(classifyTwilioError(code)).toEqual({ class: errorClass, retry });
  });

  it.each([undefined, 0, 99_999, Number.NaN])('does not retry what it does not know: %s', (code) => {
    expect(classifyTwilioError(code)).toEqual({ class: 'unknown', retry: 'never' });
  });

  it('never retries a person who opted out, a blocked text or an unregistered tenant', () => {
    for (const code of [21610, 30004, 30007, 30450, 30640, 30032, 30034]) {
      expect(classifyTwilioError(code).retry).toBe('never');
    }
  });

  it('lists every code that it knows, as label values', () => {
    expect(new Set(KNOWN_ERROR_CODES).size).toBe(KNOWN_ERROR_CODES.length);
    for (const code of KNOWN_ERROR_CODES) expect(classifyTwilioError(Number(code)).class).not.toBe('unknown');
    expect(KNOWN_ERROR_CODES).toContain('30034');
  });
});

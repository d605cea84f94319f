import fc from 'fast-check';
import { classifyCaller } from './caller.policy.js';

const kindOf = (raw: string | undefined) => classifyCaller(raw).kind;

describe('classifyCaller', () => {
  it.each([
    undefined,
    '',
    '   ',
    'Anonymous',
    'RESTRICTED',
    'unknown',
    'Unavailable',
    'private',
    'Blocked',
    'No Caller ID',
  ])('takes %j for a withheld number', (raw) => {
    expect(classifyCaller(raw)).toEqual({ kind: 'withheld', raw: raw ?? '' });
  });

  it.each(['266696687', '7378742833', '2562533', '8656696', '86282452253'])(
    'takes %s, a withheld number typed on a keypad, for no number of any country',
    (digits) => {
      expect(kindOf(`+${digits}`)).toBe('withheld');
      expect(kindOf(digits)).toBe('withheld');
    },
  );

  it('still reaches the real number in Texas that shares its digits with RESTRICTED', () => {
    expect(classifyCaller('+17378742833')).toEqual({ kind: 'reachable', phone: '+17378742833' });
  });

  it.each(['sip:x@y', 'client:bob', 'whatsapp:+15125550142', 'rcs:acme_agent', 'sip:+15125550142@carrier.example'])(
    'does not text %s, which is an address of another channel',
    (raw) => {
      expect(classifyCaller(raw)).toEqual({ kind: 'not_a_phone', raw });
    },
  );

  it('sees a withheld number behind a SIP address', () => {
    expect(kindOf('sip:anonymous@anonymous.invalid')).toBe('withheld');
  });

  it.each(['911', '22395', '787878'])('takes %s for a short code', (raw) => {
    expect(classifyCaller(raw)).toEqual({ kind: 'short_code', raw });
  });

  it.each(['ACMEPLUMB', 'Acme 24-7', 'Bank_1'])('takes %s for an alphanumeric sender', (raw) => {
    expect(kindOf(raw)).toBe('alphanumeric');
  });

  it.each(['800', '822', '833', '844', '855', '866', '877', '888'])('takes area code %s for a business', (areaCode) => {
    expect(kindOf(`+1${areaCode}5550142`)).toBe('toll_free');
  });

  it('takes an international freephone number for a business', () => {
    expect(kindOf('+80012345678')).toBe('toll_free');
  });

  it.each([
    ['premium area code', '+19005550142'],
    ['premium exchange', '+15129765555'],
    ['international premium rate', '+979123456789'],
    ['N11 area code', '+14115550142'],
    ['area code that starts with 1', '+11235550142'],
    ['area code that starts with 0', '+10235550142'],
    ['emergency number with a country code', '+1911'],
    ['too short for North America', '+1234'],
    ['too long for North America', '+151255501422'],
    ['too short for anywhere', '+4412345'],
    ['too long for anywhere', '+4412345678901234'],
    ['country code 0', '+0441234567890'],
    ['local number', '5550142'],
    ['foreign number without its plus', '442079460123'],
    ['two pluses', '++15125550142'],
    ['plus alone', '+'],
    ['words too long for a sender', 'Robert Plumbing and Heating'],
    ['markup', '<b>+1512</b>'],
    ['punctuation', '---'],
  ])('sends nothing to a number with a defect: %s', (_defect, raw) => {
    expect(classifyCaller(raw)).toEqual({ kind: 'not_a_phone', raw });
  });

  it.each([
    ['+15125550142', '+15125550142'],
    ['+15552345678', '+15552345678'],
    ['5125550142', '+15125550142'],
    ['15125550142', '+15125550142'],
    [' 15125550142', '+15125550142'],
    ['(512) 555-0142', '+15125550142'],
    ['+1 512.555.0142', '+15125550142'],
    ['＋１５１２５５５０１４２', '+15125550142'],
    ['+17875550142', '+17875550142'],
    ['+442079460123', '+442079460123'],
    ['+525512345678', '+525512345678'],
  ])('reaches %j at %s', (raw, phone) => {
    expect(classifyCaller(raw)).toEqual({ kind: 'reachable', phone });
  });

  it('answers for any input, and a reachable phone is E.164 and classifies as itself', () => {
    const digits = fc.stringMatching(/^\+?1?[0-9]{3,15}$/);
    fc.assert(
      fc.property(fc.oneof(fc.string({ unit: 'binary' }), digits), (raw) => {
        const caller = classifyCaller(raw);
        if (caller.kind !== 'reachable') return caller.raw === raw;
        return /^\+[1-9]\d{7,14}$/.test(caller.phone) && classifyCaller(caller.phone).kind === 'reachable';
      }),
    );
  });
});

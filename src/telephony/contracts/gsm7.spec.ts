import fc from 'fast-check';
import { countSegments, nonGsm7Characters, toGsm7 } from './gsm7.js';

const gsm7 = (units: number, segments: number) => ({ encoding: 'GSM-7', units, segments });
const ucs2 = (units: number, segments: number) => ({ encoding: 'UCS-2', units, segments });
const anyText = fc.oneof(
  fc.string({ unit: 'binary' }),
  fc.string({ unit: 'grapheme' }),
  fc.array(fc.integer({ min: 0, max: 0xffff })).map((units) => String.fromCharCode(...units)),
);

describe('countSegments', () => {
  it.each([
    [0, 0],
    [1, 1],
    [160, 1],
    [161, 2],
    [306, 2],
    [307, 3],
    [459, 3],
    [1600, 11],
  ])('bills %i plain characters as %i segments', (length, segments) => {
    expect(countSegments('a'.repeat(length))).toEqual(gsm7(length, segments));
  });

  it.each([...'[]{}~^|\\€\f'])('counts %j double', (character) => {
    expect(countSegments(character.repeat(80))).toEqual(gsm7(160, 1));
    expect(countSegments(`${character.repeat(80)}a`)).toEqual(gsm7(161, 2));
  });

  it('keeps the accents of the basic table in GSM-7', () => {
    expect(countSegments('éèùìòàñ¿¡ÇØøÅåÄÖÑÜäöüßÆæ£¥§¤@$_\r\nΔΦΓΛΩΠΨΣΘΞ').encoding).toBe('GSM-7');
  });

  it.each(['á', 'ç', '—', '’', '…', '`', '\u00a0', '\t', '👍', '\u0000'])(
    'sends a text with %j in UCS-2',
    (character) => {
      expect(countSegments(`a${character}`)).toEqual(ucs2(1 + character.length, 1));
    },
  );

  it.each([
    [70, 1],
    [71, 2],
    [134, 2],
    [135, 3],
  ])('bills %i UCS-2 units as %i segments', (units, segments) => {
    expect(countSegments('ç'.repeat(units))).toEqual(ucs2(units, segments));
  });

  it('moves an escaped pair that would straddle two segments to the next one', () => {
    expect(countSegments(`${'a'.repeat(152)}€${'a'.repeat(151)}`)).toEqual(gsm7(305, 2));
    expect(countSegments(`${'a'.repeat(152)}€${'a'.repeat(152)}`)).toEqual(gsm7(306, 3));
  });

  it('never splits a surrogate pair', () => {
    expect(countSegments(`${'ç'.repeat(66)}👍${'ç'.repeat(65)}`)).toEqual(ucs2(133, 2));
    expect(countSegments(`${'ç'.repeat(66)}👍${'ç'.repeat(66)}`)).toEqual(ucs2(134, 3));
  });

  it('counts lone surrogates as the units they are', () => {
    expect(countSegments('\ud83d')).toEqual(ucs2(1, 1));
  });
});

describe('toGsm7', () => {
  it.each([
    ['“Don’t” – wait — now…', '"Don\'t" - wait - now...'],
    ['a\u00a0b\tc\u2003d', 'a b c d'],
    ['José Núñez', 'José Nuñez'],
    ['Garçon, Ça va', 'Garcon, Ça va'],
    ['áíóúâêîôûãõ', 'aiouaeiouao'],
    ['e\u0301 n\u0303 a\u0301', 'é ñ a'],
    ['Łódź Đorđe Œuvre þing ẞ', 'Lodz Dorde OEuvre thing SS'],
    ['ＳＴＯＰ', 'STOP'],
    ['ﬁx ½ ² №', 'fix 1/2 2 No'],
    ['Acme™ Plumbing®', 'Acme Plumbing'],
    ['a≠b', 'ab'],
    ['ok 👍🏽', 'ok '],
    ['Мир 水 مرحبا', '  '],
    ['a\u0000b\u0007c\u001bd\u007fe', 'abcde'],
    ['a\u200bb\u200dc\ufeffd\u00ade', 'abcde'],
    ['a\u202eb\u2066c', 'abc'],
    ['a\ud83db\udc4dc', 'abc'],
    ['one\r\ntwo\rthree\u2028four', 'one\ntwo\nthree\nfour'],
    ['[5€] {~^|\\}', '[5€] {~^|\\}'],
    ['`quoted´', "'quoted'"],
  ])('writes %j as %j', (text, expected) => {
    expect(toGsm7(text)).toBe(expected);
  });

  it('makes GSM-7 of any text, and a second pass changes nothing', () => {
    fc.assert(
      fc.property(anyText, (text) => {
        const written = toGsm7(text);
        return nonGsm7Characters(written).length === 0 && toGsm7(written) === written;
      }),
    );
  });

  it('makes GSM-7 of every single character', () => {
    const foreign = [];
    for (let codePoint = 0; codePoint <= 0xffff; codePoint += 1) {
      foreign.push(...nonGsm7Characters(toGsm7(String.fromCodePoint(codePoint))));
    }
    expect(foreign).toEqual([]);
  });

  it('leaves a text alone that is GSM-7 already', () => {
    const plain = fc.stringMatching(/^[A-Za-z0-9 @£$èéñÑÜ¿?!.,'"()\n{}[\]€~^|\\]*$/);
    fc.assert(fc.property(plain, (text) => toGsm7(text) === text));
  });
});

describe('nonGsm7Characters', () => {
  it('names each character once, in order', () => {
    expect(nonGsm7Characters('a—b👍—ç')).toEqual(['—', '👍', 'ç']);
  });
});

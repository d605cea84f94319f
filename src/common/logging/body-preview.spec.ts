import { createRequire } from 'node:module';
import fc from 'fast-check';
import type { PhoneNumber } from 'libphonenumber-js/max';
import { PREVIEW_CODE_POINTS, previewBody } from './body-preview.js';
import { createRedactor, type RedactionKind } from './redactor.js';

const require = createRequire(import.meta.url);
const { getCountries, getExampleNumber } = require('libphonenumber-js/max') as typeof import('libphonenumber-js/max');
const examples = require('libphonenumber-js/examples.mobile.json') as import('libphonenumber-js/max').Examples;
const NUMBERS = getCountries()
  .map((region) => getExampleNumber(region, examples))
  .filter((number): number is PhoneNumber => number !== undefined && number.nationalNumber.length >= 7);

const kinds: RedactionKind[] = [];
const report = (kind: RedactionKind) => void kinds.push(kind);
const redactor = createRedactor({ onRedaction: report });
const preview = (body: string) => previewBody(body, redactor, report);

beforeEach(() => kinds.splice(0));

describe('the preview of a body', () => {
  it.each([
    ['My boiler is broken', 'My boiler is broken'],
    ['', ''],
    ['Ring 4155550132 or jane@example.com', 'Ring ***0132 or ***@***'],
    ['local 555 0132 or 5550132', 'local ***0132 or ***0132'],
    ['٤١٥٥٥٥٠١٣٢ is mine', '***٠١٣٢ is mine'],
    ['jane4155550132@example.com is mine', '***@*** is mine'],
    ['%2B14155550132', '%2B***0132'],
    ['{"phone":"4155550132"}', '{"phone":"***0132"}'],
  ])('of %j is %j', (body, shown) => {
    expect(preview(body)).toBe(shown);
  });

  it('has fifty code points at most, and no half of one', () => {
    const shown = preview('🔧'.repeat(80));
    expect(Array.from(shown)).toHaveLength(PREVIEW_CODE_POINTS);
    expect(shown.isWellFormed()).toBe(true);
  });

  it.each(['+14155550132', '(415) 555-0132', '415.555.0132', '4155550132', 'jane.roe@example.com'])(
    'never shows half of %s, wherever the cut runs through it',
    (secret) => {
      const digits = secret.replace(/\D/g, '');
      for (let before = 0; before <= PREVIEW_CODE_POINTS; before++) {
        const shown = preview(`${'x '.repeat(before).slice(0, before)} ${secret} and so on`);
        expect(shown).not.toMatch(/jane|roe|exam/);
        if (digits) expect(shown.replace(/\D/g, '').length).toBeLessThanOrEqual(4);
      }
    },
  );

  it('shows no number of any region, in any of the usual spellings, at any place', () => {
    const spelling = fc.constantFrom<(phone: PhoneNumber) => string>(
      (phone) => phone.number,
      (phone) => phone.formatInternational(),
      (phone) => phone.formatNational(),
      (phone) => phone.nationalNumber,
      (phone) => phone.nationalNumber.replace(/(\d{3})(?=\d)/g, '$1.'),
    );
    fc.assert(
      fc.property(fc.constantFrom(...NUMBERS), spelling, fc.nat(PREVIEW_CODE_POINTS), (phone, write, before) => {
        const shown = preview(`${'y'.repeat(before)} ${write(phone)} please`);
        expect(shown.replace(/\D/g, '').length).toBeLessThanOrEqual(4);
      }),
      { numRuns: 3000 },
    );
  });

  it('reports what it masked, each value once', () => {
    preview('Ring 4155550132, 5550132 or jane@example.com');
    expect(kinds.sort()).toEqual(['email', 'phone', 'phone']);
  });
});

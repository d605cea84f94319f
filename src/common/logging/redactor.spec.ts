import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import fc from 'fast-check';
import type { PhoneNumber } from 'libphonenumber-js/max';
import { createRedactor, phoneHash, type RedactionKind, redactLine, redactText, redactValue } from './redactor.js';

const require = createRequire(import.meta.url);
const { getCountries, getExampleNumber } = require('libphonenumber-js/max') as typeof import('libphonenumber-js/max');
const examples = require('libphonenumber-js/examples.mobile.json') as import('libphonenumber-js/max').Examples;

interface RedactionCase {
  id: string;
  polarity: 'positive' | 'negative';
  kind: string;
  input: unknown;
  mustNotContain: string[];
  mustContain: string[];
  why: string;
}

const CASES = JSON.parse(readFileSync('test/support/data/redaction-cases.json', 'utf8')) as RedactionCase[];

function everyNet(input: unknown): string[] {
  if (typeof input !== 'string') return [JSON.stringify(redactValue(input)), redactLine(JSON.stringify(input))];
  return [
    redactText(input),
    redactLine(input),
    JSON.stringify(redactValue({ msg: input })),
    redactLine(JSON.stringify({ level: 'info', message: input })),
  ];
}

describe('the agreed cases', () => {
  it.each(CASES)('$id $polarity $kind: $why', ({ input, mustContain, mustNotContain }) => {
    for (const output of everyNet(input)) {
      for (const kept of mustContain) expect(output).toContain(kept);
      for (const leaked of mustNotContain) expect(output).not.toContain(leaked);
    }
  });
});

const NUMBERS = getCountries()
  .map((region) => getExampleNumber(region, examples))
  .filter((number): number is PhoneNumber => number !== undefined && number.nationalNumber.length >= 7);
/** `from` and `to` need ten bare digits, so the regions that write a short number in one piece are left to the rest. */
const SPACED_NUMBERS = NUMBERS.filter((number) => /\d\D+\d/.test(number.formatNational()));

const number = fc.constantFrom(...NUMBERS);
const internationally = fc.constantFrom<(phone: PhoneNumber) => string>(
  (phone) => phone.number,
  (phone) => phone.formatInternational(),
  (phone) => phone.formatInternational().replaceAll(' ', '-'),
  (phone) => phone.formatInternational().replaceAll(' ', '\u00a0'),
  (phone) => phone.formatInternational().replaceAll(' ', '\u2011'),
  (phone) => phone.formatInternational().replace(' ', ' (0)'),
  (phone) => phone.getURI(),
  (phone) => `sms:${phone.number}`,
  (phone) => encodeURIComponent(phone.number),
  (phone) => encodeURIComponent(encodeURIComponent(phone.formatInternational())),
  (phone) => phone.number.replace(/[+\d]/g, (char) => String.fromCharCode(char.charCodeAt(0) + 0xfee0)),
  (phone) => phone.number.replace('+', '&#43;'),
  (phone) => `ring 00${phone.number.slice(1)}`,
  (phone) => `ring ${phone.formatInternational().replace('+', '011 ')}`,
);
const contextWord = fc.constantFrom(
  'phone ',
  'call ',
  'Caller: ',
  'from ',
  'to ',
  'sms to ',
  'text ',
  'tel.: ',
  'mobile=',
  'PHONE NUMBER IS ',
  'customerPhone="',
);
const before = fc.constantFrom(
  '',
  'hello ',
  '(',
  '<',
  '"',
  'Error: ',
  "('",
  '[',
  'é ',
  '\n',
  'a=b&p=',
  '{\\"To\\":\\"',
);
const after = fc.constantFrom(
  '',
  ' hung up',
  ')',
  '>',
  '",',
  '.',
  ', thanks',
  '; ext',
  '&x=y',
  "')",
  ' and more',
  '\\"}',
);

function expectOnlyMask(text: string): void {
  for (const output of [redactText(text), JSON.parse(redactLine(JSON.stringify({ message: text }))).message]) {
    const withoutMasks = output.replace(/\*\*\*\d{4}/g, '').replace(/&#43;|%[0-9A-F]{2}/g, '');
    expect(withoutMasks.normalize('NFKC')).not.toMatch(/\d/);
  }
}

describe('phone numbers of every region', () => {
  it('never survive with their calling code, whatever the spelling and the surroundings', () => {
    fc.assert(
      fc.property(number, internationally, before, after, (phone, write, left, right) => {
        expectOnlyMask(left + write(phone) + right);
      }),
      { numRuns: 3000 },
    );
  });

  it('never survive in national spelling after a word for calling', () => {
    fc.assert(
      fc.property(fc.constantFrom(...SPACED_NUMBERS), contextWord, before, after, (phone, word, left, right) => {
        expectOnlyMask(left + word + phone.formatNational() + right);
      }),
      { numRuns: 2000 },
    );
  });

  it('never survive as digits or JS numbers in a field that is named for them', () => {
    const key = fc.constantFrom('customerPhone', 'caller_phone', 'from_e164', 'toNumber', 'msisdn', 'Caller', 'phones');
    fc.assert(
      fc.property(number, key, (phone, name) => {
        const digits = phone.nationalNumber;
        for (const value of [digits, Number(digits), BigInt(digits), [digits], { raw: digits }]) {
          expect(redactValue({ [name]: value })).not.toEqual({ [name]: value });
        }
        expect(redactLine(`{"${name}":${Number(digits)}}`)).toBe(`{"${name}":"***${digits.slice(-4)}"}`);
      }),
      { numRuns: 500 },
    );
  });
});

const fragment = fc.constantFrom(
  ...[
    '+14155550132',
    '415-555-0132',
    '4155550132',
    '415',
    '555 0132',
    '0132',
    '+',
    '+1 ',
    '(',
    ') ',
    '-',
    '.',
    ' ',
    ', ',
  ],
  ...[
    'call ',
    'to ',
    'phone=',
    'id ',
    '"',
    '\\"',
    ':',
    '=',
    '?a=',
    '&Body=',
    '%2B',
    '%20',
    '%25',
    '%',
    '＋１',
    '\u200b',
  ],
  ...[
    'jane@example.com',
    '@',
    '%40',
    'a.b',
    '***',
    '***@***',
    '***0132',
    '[5 chars]',
    'token=',
    'password: ',
    'Bearer ',
  ],
  ...[
    'abcdefgh1',
    '://',
    'x:y@',
    '2026-01-01',
    '10.0.0.1',
    'SM',
    'ab12',
    '00',
    '011 ',
    ' ns',
    '\\u002b',
    '&#43;',
    '{',
    '}',
  ],
);

const atom = fc.stringMatching(/^[a-z][a-z0-9]{2,9}$/);
const domain = fc
  .tuple(fc.array(atom, { minLength: 1, maxLength: 3 }), fc.constantFrom('com', 'co.uk', 'example', 'museum'))
  .map(([labels, top]) => `${labels.join('.')}.${top}`);
const local = fc.oneof(
  fc.array(atom, { minLength: 1, maxLength: 3 }).map((atoms) => atoms.join('.')),
  fc.tuple(atom, atom).map(([name, tag]) => `${name}+${tag}`),
  fc.tuple(atom, fc.constantFrom('_', '-', "'", '!', '#', '/', '=')).map(([name, mark]) => `${name}${mark}x`),
);
const emailSpelling = fc.constantFrom<(address: string) => string>(
  (address) => address,
  (address) => address.toUpperCase(),
  (address) => `<${address}>`,
  (address) => `mailto:${address}`,
  (address) => address.replace('@', '%40'),
  (address) => encodeURIComponent(encodeURIComponent(address)),
  (address) => address.replace('@', '&#64;'),
  (address) => address.replace('@', '＠'),
  (address) => `"${address}"`,
);

describe('e-mail addresses of every form', () => {
  it('never survive, whatever the spelling and the surroundings', () => {
    fc.assert(
      fc.property(local, domain, emailSpelling, before, after, (name, host, write, left, right) => {
        // Not a piece of the surroundings, which may stay.
        fc.pre(!`${left}${right}`.toLowerCase().includes(name.slice(0, 3)));
        for (const output of everyNet(left + write(`${name}@${host}`) + right)) {
          expect(output.toLowerCase()).not.toContain(`${host.split('.')[0]}.`);
          expect(output.toLowerCase()).not.toContain(encodeURIComponent(name).toLowerCase());
          expect(output.toLowerCase()).not.toContain(name);
        }
      }),
      { numRuns: 3000 },
    );
  });
});

describe('several at once', () => {
  it('are all masked, and counted one by one', () => {
    const separator = fc.constantFrom(', ', ' and ', '; ', ' | ', '\n', ' / ', '","');
    fc.assert(
      fc.property(fc.array(number, { minLength: 1, maxLength: 6 }), separator, (phones, between) => {
        const seen: RedactionKind[] = [];
        const redactor = createRedactor({ onRedaction: (kind) => seen.push(kind) });
        const output = redactor.redactText(phones.map((phone) => phone.formatInternational()).join(between));
        expect(output.match(/\*\*\*\d{4}/g)).toEqual(phones.map((phone) => `***${phone.number.slice(-4)}`));
        expect(seen).toEqual(phones.map(() => 'phone'));
      }),
      { numRuns: 1000 },
    );
  });

  it('are found in the middle of what looks hostile', () => {
    fc.assert(
      fc.property(fc.array(fragment, { maxLength: 8 }), fc.array(fragment, { maxLength: 8 }), (left, right) => {
        const text = `${left.join('')}\n+442079460958 jane.zanzibar@example.org\n${right.join('')}`;
        for (const output of [redactText(text), redactLine(text), JSON.stringify(redactValue({ msg: text }))]) {
          expect(output).not.toMatch(/2079460958|zanzibar/);
        }
      }),
      { numRuns: 2000 },
    );
  });
});

const hex = (length: number) => fc.stringMatching(new RegExp(`^[0-9a-f]{${length}}$`));
const digits = (length: number) => fc.stringMatching(new RegExp(`^[0-9]{${length}}$`));
const instant = fc.date({ min: new Date('1990-01-01'), max: new Date('2099-12-31'), noInvalidDate: true });
const harmless = fc.oneof(
  fc.uuid(),
  fc.tuple(fc.constantFrom('SM', 'CA', 'AC', 'PN', 'MM'), hex(32)).map((parts) => parts.join('')),
  fc.tuple(hex(32), hex(16)).map(([trace, span]) => `00-${trace}-${span}-01`),
  hex(40),
  hex(64).map((digest) => `sha256:${digest}`),
  instant.map((date) => date.toISOString()),
  instant.map((date) => date.toISOString().slice(0, 10)),
  instant.map((date) => String(date.getTime()).padStart(13, '1')),
  fc.ipV4(),
  fc.tuple(fc.ipV4(), fc.nat(65_535)).map(([ip, port]) => `${ip}:${port}`),
  fc.ipV6(),
  fc.double({ min: 0, max: 9e9, noNaN: true }).map((amount) => `$${amount.toFixed(2)}`),
  fc.nat(2_000_000_000).map((cents) => `$${(cents / 100).toLocaleString('en-US')}`),
  fc.tuple(fc.nat(400), fc.nat(99), fc.nat(9999)).map((parts) => parts.join('.')),
  fc.tuple(fc.nat(9999), fc.nat(999)).map(([line, column]) => `/app/dist/file.js:${line}:${column}`),
  fc.tuple(fc.nat(99), fc.nat(99)).map(([major, minor]) => `@nestjs/core@${major}.${minor}.1`),
  digits(19),
  fc.tuple(digits(10), fc.constantFrom('ns', ' ms', ' bytes')).map((parts) => parts.join('')),
);
const neutralWord = fc.constantFrom(
  '',
  'id ',
  'took ',
  'at ',
  'value=',
  '"x": "',
  'job ',
  'since ',
  '(',
  'for tenant ',
);

describe('what only looks like personal data', () => {
  it('survives byte for byte', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(neutralWord, harmless), { minLength: 1, maxLength: 4 }), (parts) => {
        const text = parts.map((part) => part.join('')).join('; ');
        expect(redactText(text)).toBe(text);
        const line = JSON.stringify({ message: text, value: parts[0]?.[1] });
        expect(redactLine(line)).toBe(line);
      }),
      { numRuns: 3000 },
    );
  });

  it.each([
    'count to 1 2 3 4 5 6 7 8 9 10',
    'text from 1763893984 to 1763894984, from 1763893984422 to 1763893999999',
    'upgrade from 120.0.6099.109 to 131.0.6778.204',
    'call moved from 15.10.2024 10:00 to 16.10.2024 11:30',
    'shipped to San Francisco, CA 94110-1234',
    'called from EV4155550132, order number 4155550132, INV-4155550132',
    '127.0.0.1 - - [23/Nov/2026:10:33:04 +0000] "POST /webhooks/twilio/sms-inbound HTTP/1.1" 200 5320 1234',
    'scrolled from 12 000 000 to 20 000 000 rows',
    'geo +37.7749295,-122.4194155, delta +1234567.89',
    'mac 00-14-22-01-23-45, padded 0012345678, build 1.0.0+20261123103304',
    'p50 210 350 4500 8000',
    'from 0030000000ns, call took 4155550132 ns',
    'outbox_id=4155550132 from=web id: 4155550132',
    'git@github.com:acme/nmc.git logo@2x.png react@19.0.0-rc.1 ssh://git@github.com/acme/nmc',
    'invalid token: expired; Unexpected token < in JSON; Bearer authentication; tokens=4155550132',
    'https://host:8080/@scope/pkg@1.2.3',
  ])('keeps %s', (text) => {
    expect(redactText(text)).toBe(text);
  });
});

describe('phone numbers', () => {
  it.each([
    ['call 555-0132 or 4155550132 now', 'call ***0132 or ***0132 now'],
    ['to 4155550132, 2125550187 and 3105550199', 'to ***0132, ***0187 and ***0199'],
    ['+14155550132 +12125550187', '***0132 ***0187'],
    ['+1 415 555 0132 3 times', '***0132 3 times'],
    ['+44 20 7946 0958 2026-11-23T10:33:04Z', '***0958 2026-11-23T10:33:04Z'],
    ['(+44) 20 7946 0958', '***0958'],
    ['q=call+4155550132&from=%28415%29+555-0132', 'q=call***0132&from=***0132'],
    ['\u202a+1 (415) 555\u20110132\u202c', '\u202a***0132\u202c'],
    ['tel:+1-415-555-0132;ext=456', 'tel:***0132'],
    ['<Number>4155550132</Number>', '<Number>***0132</Number>'],
    [
      '{\\"customerPhone\\":\\"4155550132\\",\\"id\\":\\"4155550132\\"}',
      '{\\"customerPhone\\":\\"***0132\\",\\"id\\":\\"4155550132\\"}',
    ],
    ['\\u002b14155550132', '***0132'],
    ['voicemail_+14155550132.mp3', 'voicemail_***0132.mp3'],
    ['https://wa.me/14155550132', 'https://wa.me/***0132'],
    ['E164 14155550132, sip:4155550132@host', 'E164 ***0132, sip:***0132@host'],
    ['contact_+1_415_555_0132.vcf', 'contact_***0132.vcf'],
  ])('%s becomes %s', (text, redacted) => {
    expect(redactText(text)).toBe(redacted);
  });
});

describe('e-mail addresses', () => {
  it.each([
    ['jane%2Broe%2540example.com&x=1', '***@***&x=1'],
    ['"jane roe"@example.com wrote', '***@*** wrote'],
    ['to jane@[192.0.2.1]', 'to ***@***'],
    ['bounce+jane=example.com@lists.example.net', '***@***'],
    ["VALUES ('o'brien@example.com')", "VALUES ('***@***')"],
    ['/users/jane@example.com.json', '/users/***@***.json'],
    ['jane&#64;example.com, jane＠example.com', '***@***, ***@***'],
    ['jane+14155550132@example.com', '***@***'],
  ])('%s becomes %s', (text, redacted) => {
    expect(redactText(text)).toBe(redacted);
  });
});

describe('credentials', () => {
  it.each([
    ['Authorization: Bearer abc.def-12345 rejected', 'Authorization: Bearer *** rejected'],
    ['X-Twilio-Signature: 0/KCTR6DLpKmkAf8muzZqo1nDgQ=', 'X-Twilio-Signature: ***'],
    ['stripe-signature: t=1492774577,v1=5257a869', 'stripe-signature: ***'],
    ['TWILIO_AUTH_TOKEN=deadbeef LOG_LEVEL=info', 'TWILIO_AUTH_TOKEN=*** LOG_LEVEL=info'],
    ['{\\"password\\":\\"two words\\",\\"a\\":1}', '{\\"password\\":\\"***\\",\\"a\\":1}'],
    ['/cb?access_token=abc&x=1', '/cb?access_token=***&x=1'],
    ['https://AC123:pass@api.example.com/x', 'https://***:***@api.example.com/x'],
    ['Cookie: sid=1; theme=dark', 'Cookie: ***'],
    ['key sk_live_abcdefghijkl used', 'key *** used'],
    ['?From=%2B14155550132&Body=Hi%20there&x=1', '?From=***0132&Body=[10 chars]&x=1'],
    ['{"Body":"Hi, this is Jane', '{"Body":"[16 chars]'],
  ])('%s becomes %s', (text, redacted) => {
    expect(redactText(text)).toBe(redacted);
  });
});

describe('the key-aware net', () => {
  it('lets the name of a field decide what digits are', () => {
    const fields = {
      outbox_id: '4155550132',
      n: 4155550132,
      phone_hash: '41555501',
      from: 1763893984,
      valid_to: '2026',
    };
    expect(redactValue(fields)).toEqual(fields);
    expect(redactValue({ from: 4155550132, recipients: ['4155550132', { to: '4155550132' }] })).toEqual({
      from: '***0132',
      recipients: ['***0132', { to: '***0132' }],
    });
    expect(redactValue('4155550132', 'customerPhone')).toBe('***0132');
  });

  it('shows of a body its length and of a credential nothing', () => {
    expect(redactValue({ Body: 'Hi 👋', text: 'two words', token: { a: 1 }, password: 1234, has_token: true })).toEqual(
      {
        Body: '[4 chars]',
        text: '[9 chars]',
        token: '***',
        password: '***',
        has_token: true,
      },
    );
  });

  it('writes errors and maps as fields, and keeps numbers apart that end alike', () => {
    const error = new Error('to +14155550132', { cause: new Error('jane@example.com') });
    expect(redactValue({ error })).toMatchObject({ error: { message: 'to ***0132', cause: { message: '***@***' } } });
    expect(JSON.stringify(redactValue({ error }))).not.toContain('415555');
    const counts = new Map([
      ['+14155550132', 1],
      ['+12125550132', 2],
    ]);
    expect(redactValue({ counts })).toEqual({ counts: { '***0132': 1, '***0132 (2)': 2 } });
  });

  it('is bounded, survives cycles and hostile getters, and leaves its input alone', () => {
    const value: Record<string, unknown> = { phone: '4155550132' };
    value['self'] = value;
    Object.defineProperty(value, 'broken', {
      enumerable: true,
      get: () => {
        throw new Error('broken');
      },
    });
    expect(redactValue(value)).toEqual({ phone: '***0132', self: '[circular]', broken: '[unreadable]' });
    expect(value['phone']).toBe('4155550132');
    let deep: unknown = '+14155550132';
    for (let i = 0; i < 5000; i++) deep = { deep };
    expect(JSON.stringify(redactValue(deep))).toContain('[too deep]');
    expect(redactValue(new Array(100_000).fill('+14155550132'))).toHaveLength(513);
  });
});

describe('the line net', () => {
  it('leaves everything but the masks byte for byte', () => {
    const line =
      '  {"a": 1.0, "b":5208512171318403364,"a":"\\u002b14155550132", "mobile" : 4155550132, "t":"\\u00e9"}\n';
    const redacted = '  {"a": 1.0, "b":5208512171318403364,"a":"***0132", "mobile" : "***0132", "t":"\\u00e9"}\n';
    expect(redactLine(line)).toBe(redacted);
  });

  it('reads a JSON document inside a string', () => {
    const message = JSON.stringify({ customerPhone: '4155550132', id: '4155550132', Body: 'hello' });
    const redacted = JSON.stringify({ customerPhone: '***0132', id: '4155550132', Body: '[5 chars]' });
    expect(redactLine(JSON.stringify({ message }))).toBe(JSON.stringify({ message: redacted }));
  });

  it('reads a line that was cut in the middle, or has something before it, as text', () => {
    expect(redactLine('{"customerPhone":"4155550132","outbox_id":"4155550132"')).toBe(
      '{"customerPhone":"***0132","outbox_id":"4155550132"',
    );
    expect(redactLine('app-1 | {"to":"4155550132"}')).toBe('app-1 | {"to":"***0132"}');
  });

  it('cuts at 16 KB, after redaction, and says so', () => {
    const line = JSON.stringify({
      level: 'info',
      message: `${'x'.repeat(1010)} +14155550132 `.repeat(40),
      outbox_id: '7',
    });
    const cut = redactLine(`${line}\n`);
    expect(JSON.parse(cut)).toMatchObject({ level: 'info', outbox_id: '7', truncated: true });
    expect(cut).not.toContain('415555');
    expect(cut.endsWith('\n')).toBe(true);

    const text = redactLine(`${'é'.repeat(8180)} +14155550132 ${'y '.repeat(9000)}`);
    expect(Buffer.byteLength(text)).toBeLessThanOrEqual(16_384);
    expect(text).toMatch(/\[truncated\]$/);
    expect(text).not.toMatch(/1415|\ufffd/);
  });
});

describe('counting', () => {
  it('tells of each value that was masked, and not of masks', () => {
    const seen: RedactionKind[] = [];
    const redactor = createRedactor({ onRedaction: (kind) => seen.push(kind) });
    const line = '{"phone":4155550132,"Body":"hi","password":"x","message":"+14155550132 and jane@example.com"}';
    const redacted = redactor.redactLine(line);
    expect(seen.sort()).toEqual(['body', 'email', 'phone', 'phone', 'secret']);
    seen.length = 0;
    expect(redactor.redactLine(redacted)).toBe(redacted);
    expect(seen).toEqual([]);
  });
});

describe('phoneHash', () => {
  it('is stable, keyed and short', () => {
    expect(phoneHash('+14155550132', 'key')).toMatch(/^[0-9a-f]{8}$/);
    expect(phoneHash('+14155550132', 'key')).toBe(phoneHash('+14155550132', 'key'));
    expect(phoneHash('+14155550132', 'other')).not.toBe(phoneHash('+14155550132', 'key'));
  });
});

describe('stability', () => {
  it('redacting twice equals redacting once', () => {
    fc.assert(
      fc.property(fc.array(fragment, { minLength: 1, maxLength: 12 }), (parts) => {
        const once = redactText(parts.join(''));
        expect(redactText(once)).toBe(once);
        const line = redactLine(JSON.stringify({ [parts[0] ?? '']: parts.join(''), phone: parts.join('') }));
        expect(redactLine(line)).toBe(line);
      }),
      { numRuns: 5000 },
    );
  });

  it('never throws and never returns anything but a string', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 200 }), (text) => {
        expect(typeof redactText(text)).toBe('string');
        expect(typeof redactLine(text)).toBe('string');
      }),
      { numRuns: 1000 },
    );
  });
});

const HOSTILE = [
  ...[
    'aaaa@',
    'a@a.',
    'a.a@a.a@',
    '"@',
    'a+=@',
    'a',
    '415-',
    '1',
    '1 ',
    '12 34 ',
    '+',
    '+1 ',
    '1\u00a0',
    '１',
    '1\u200b',
  ],
  ...[
    '%',
    '%25',
    '%2525',
    '%C2',
    '%E2%80',
    '\\',
    '\\"',
    '\\u',
    '&#',
    'call 4',
    'call 12 ',
    'call 4155550132, ',
    'a1',
    '(',
  ],
  ...[
    '41555501-3241-5555-0132-',
    'token:',
    'token="',
    'a_token',
    '://',
    '://a:',
    '?a=',
    'eyJ',
    'eyJaaaa.',
    'bearer ',
    '1.',
  ],
  ...[
    '1.2.3.4.',
    '2026-',
    '{"a":',
    '[',
    '"body":"',
    '415-555-0132 ',
    'jane@example.com ',
    '***0132 ',
    '_',
    'cookie: a; ',
  ],
];

/** The least time of several runs, in ms: the rest of the machine can only add to one. */
function least(run: () => void): number {
  const times = Array.from({ length: 8 }, () => {
    const started = performance.now();
    run();
    return performance.now() - started;
  });
  return Math.min(...times);
}

/**
 * How many times longer four times the input takes: 4 when linear, 16 when quadratic. The constant keeps noise out of
 * short runs.
 */
function growth(long: () => void, short: () => void): number {
  return least(long) / (least(short) + 0.5);
}

/** On a busy machine a linear one may look worse now and then; a quadratic one never looks better. */
const MEASUREMENTS = 4;

describe('hostile input', () => {
  it.each(HOSTILE)('%j, over and over, takes time in proportion to its length', (unit) => {
    const long = unit.repeat(Math.ceil(65_536 / unit.length));
    const short = long.slice(0, long.length / 4);
    for (const net of [redactText, redactLine, (text: string) => redactLine(JSON.stringify({ text, m: text }))]) {
      let grown = Number.POSITIVE_INFINITY;
      for (let n = 0; n < MEASUREMENTS && grown >= 12; n++) {
        const measured = growth(
          () => net(long),
          () => net(short),
        );
        grown = Math.min(grown, measured);
      }
      expect(grown).toBeLessThan(12);
    }
  });
});

import fc from 'fast-check';
import { countSegments } from '../../telephony/contracts/gsm7.js';
import { checkTemplate, DEFAULT_FIRST_REPLIES, renderFirstReply } from './first-reply.policy.js';

const TRIGGERS = ['call', 'text'] as const;
const call = (businessName: string, template?: string) =>
  renderFirstReply({ businessName, trigger: 'call', ...(template === undefined ? {} : { template }) });
const problemsOf = (template: string) => {
  const check = checkTemplate(template);
  return check.ok ? [] : check.problems;
};

const anyName = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 300 }),
  fc.string({ unit: 'grapheme', maxLength: 300 }),
  fc.array(fc.integer({ min: 0, max: 0xffff })).map((units) => String.fromCharCode(...units)),
  fc.stringMatching(/^[A-Za-z {}€&.,]{1,200}$/),
);

describe('renderFirstReply', () => {
  it('names the business and tells how to stop', () => {
    expect(call('Acme Plumbing')).toBe(
      "Hi, this is Acme Plumbing. Sorry we missed your call! How can we help? Reply here and we'll get you booked. Reply STOP to opt out.",
    );
    expect(renderFirstReply({ businessName: 'Acme', trigger: 'text' })).toContain(
      'Hi, this is Acme. Thanks for your text!',
    );
  });

  it.each([
    ['Peña’s Plumbing — 24/7 🔧', "Peña's Plumbing - 24/7"],
    ['  Acme\n  Plumbing\u200b ', 'Acme Plumbing'],
    ['Acme, Inc.', 'Acme, Inc'],
    ['ACME™ ＨＶＡＣ', 'ACME HVAC'],
  ])('writes the name %j in plain characters', (name, written) => {
    expect(call(name)).toContain(`this is ${written}. Sorry`);
  });

  it.each(['水道屋', '🔧🔧', '', '...', '\u202e'])(
    'still speaks for a business whose name cannot be written: %j',
    (name) => {
      expect(call(name)).toContain('this is our team. Sorry');
    },
  );

  it('shortens a long name between words, without a dangling conjunction', () => {
    expect(call('Smith and Daughters Plumbing and Heating Contractors')).toContain(
      'this is Smith and Daughters Plumbing and Heating. Sorry',
    );
    expect(call('Smith and Daughters Plumbing Heating and Contractors')).toContain(
      'this is Smith and Daughters Plumbing Heating. Sorry',
    );
    expect(call('Johnson & Johnson Brothers Daughters & Nephews')).toContain(
      'this is Johnson & Johnson Brothers Daughters. Sorry',
    );
  });

  it('cuts a long name within a word when there is no boundary worth it', () => {
    const text = call(`Al ${'x'.repeat(100)}`);
    expect(text).toMatch(/this is Al x+\. Sorry/);
    expect(countSegments(text).units).toBe(160);
  });

  it('does not take a placeholder or a pattern in the name for its own', () => {
    expect(call('{business} $& $1')).toContain('this is {business} $& $1. Sorry');
  });

  it('uses the text of the tenant, in every place that names the business', () => {
    const template = '{business} here, we missed you. Text back! Reply STOP to stop texts from {business}.';
    expect(call('Acme', template)).toBe('Acme here, we missed you. Text back! Reply STOP to stop texts from Acme.');
  });

  it('falls back to the default when the text of the tenant may not be sent', () => {
    expect(call('Acme', 'Hi — call us at http://acme.example')).toBe(call('Acme'));
    expect(call('Acme', '')).toBe(call('Acme'));
  });

  it('is one GSM-7 segment that tells how to stop, for any name and any accepted text', () => {
    const piece = fc.stringMatching(/^[A-Za-z0-9 ,.!?'\n€[\]~éñ]{0,40}$/);
    const accepted = fc
      .tuple(piece, piece, piece, fc.boolean())
      .map(([a, b, c, twice]) => `${a}{business}${b} STOP ${c}${twice ? '{business}' : ''}`)
      .filter((template) => checkTemplate(template).ok);
    const template = fc.option(accepted, { nil: undefined });
    fc.assert(
      fc.property(template, anyName, fc.constantFrom(...TRIGGERS), (text, businessName, trigger) => {
        const reply = renderFirstReply({ businessName, trigger, ...(text === undefined ? {} : { template: text }) });
        const { encoding, segments } = countSegments(reply);
        return encoding === 'GSM-7' && segments === 1 && /\bSTOP\b/.test(reply);
      }),
    );
  });

  it('is one GSM-7 segment even for a text that was never checked', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), anyName, (template, businessName) => {
        const { encoding, segments } = countSegments(call(businessName, template));
        return encoding === 'GSM-7' && segments === 1;
      }),
    );
  });
});

describe('checkTemplate', () => {
  it.each(TRIGGERS)('accepts the default text for a %s', (trigger) => {
    expect(checkTemplate(DEFAULT_FIRST_REPLIES[trigger])).toEqual({ ok: true });
  });

  it.each([
    ['the name of the business', 'Sorry we missed you. Reply STOP to opt out.', /must contain \{business\}/],
    ['the word STOP', '{business} missed your call. How can we help?', /must contain the word STOP/],
    ['STOP in capitals', '{business} missed you. Reply stop to opt out.', /must contain the word STOP/],
    ['STOP as a word of its own', '{business}STOP and NONSTOP service', /must contain the word STOP/],
  ])('asks for %s', (_what, template, problem) => {
    expect(problemsOf(template)).toEqual([expect.stringMatching(problem)]);
  });

  it.each([
    'https://acme.example/x',
    'www.acme',
    'acme.com',
    'ACME.COM/book',
    'bit.ly/3xYz',
    '{business}.com',
    'acme.plumbing/now',
  ])('refuses the web address %s', (address) => {
    expect(problemsOf(`{business}: book at ${address} Reply STOP to opt out`)).toEqual([
      expect.stringMatching(/web address/),
    ]);
  });

  it.each(['8 a.m. to 5 p.m.', '24/7', 'We are out.Sorry', 'e.g. leaks, 2.5 hours'])(
    'takes %j for no web address',
    (words) => {
      expect(problemsOf(`{business}: ${words} Reply STOP to opt out`)).toEqual([]);
    },
  );

  it.each([
    ['{name}', /Unknown placeholder: \{name\}/],
    ['{Business}', /Unknown placeholder: \{Business\}/],
    ['{{business}}', /Unknown placeholder: \{\}/],
    ['{', /curly brace/],
  ])('refuses the placeholder %s', (placeholder, problem) => {
    expect(problemsOf(`{business} ${placeholder} Reply STOP to opt out`)).toEqual([expect.stringMatching(problem)]);
  });

  it('says which characters do not fit', () => {
    expect(problemsOf('{business} — sorry\u00a0👍 Reply STOP to opt out')).toEqual([
      'These characters do not fit a plain text message: — (U+2014), U+00A0, 👍 (U+1F44D).',
    ]);
  });

  it('leaves room for a name of 20 characters', () => {
    const rest = ' Reply STOP to opt out';
    const fitting = `{business}${'a'.repeat(160 - 20 - rest.length)}${rest}`;
    expect(problemsOf(fitting)).toEqual([]);
    expect(problemsOf(`${fitting}!`)).toEqual([expect.stringMatching(/takes 161 of 160/)]);
  });

  it('lists every problem at once', () => {
    expect(problemsOf('“Hi {name}” bit.ly/x')).toHaveLength(5);
  });
});

import {
  countSegments,
  GSM7_SINGLE_SEGMENT,
  nonGsm7Characters,
  septetsOf,
  toGsm7,
} from '../../telephony/contracts/gsm7.js';

/** What opened the conversation. */
export type FirstReplyTrigger = 'call' | 'text';

/** The texts of a tenant without templates of its own; the one for a call is what carriers see most. */
export const DEFAULT_FIRST_REPLIES: Readonly<Record<FirstReplyTrigger, string>> = {
  call: "Hi, this is {business}. Sorry we missed your call! How can we help? Reply here and we'll get you booked. Reply STOP to opt out.",
  text: "Hi, this is {business}. Thanks for your text! How can we help? Reply here and we'll get you booked. Reply STOP to opt out.",
};

export interface FirstReplyInput {
  /** The tenant's own text; one that `checkTemplate` refuses is passed over for the default. */
  template?: string;
  businessName: string;
  trigger: FirstReplyTrigger;
}

/** Whether a template may be used, and if not, everything that is wrong with it in sentences for the tenant. */
export type TemplateCheck = { ok: true } | { ok: false; problems: string[] };

/** A template must leave room for a name of this many septets in each place that names the business. */
export const GUARANTEED_NAME_LENGTH = 20;

/** Names the business when GSM-7 can write nothing of its name. */
const NAMELESS = 'our team';

const PLACEHOLDER = '{business}';
const MAX_NAME_INPUT = 400;

const URL_LIKE = [
  /[a-z]:\/\//i,
  /\bwww\./i,
  /\b[a-z0-9-]+\.[a-z]{2,}\//i,
  /\b[a-z0-9-]+\.(?:ai|app|biz|ca|cc|co|com|dev|gd|gl|info|io|link|ly|me|mobi|net|online|org|page|pro|shop|site|store|tv|uk|us|xyz)\b/i,
];

/**
 * Renders the first text to a caller: always exactly one GSM-7 segment that names the business and tells how to stop.
 *
 * The name is written in GSM-7 and shortened, between words where possible, when it would not fit.
 */
export function renderFirstReply({ template, businessName, trigger }: FirstReplyInput): string {
  const usable = template !== undefined && checkTemplate(template).ok;
  const parts = (usable ? template : DEFAULT_FIRST_REPLIES[trigger]).split(PLACEHOLDER);
  const room = Math.floor((GSM7_SINGLE_SEGMENT - septets(parts.join(''))) / (parts.length - 1));
  return parts.join(shorten(nameOf(businessName), room));
}

/**
 * Checks a tenant's template: it names the business by `{business}`, has the word STOP, no other placeholder, no
 * address of a web page (carriers filter those), only GSM-7 characters, and fits one segment with a name of
 * `GUARANTEED_NAME_LENGTH` characters.
 */
export function checkTemplate(template: string): TemplateCheck {
  const problems: string[] = [];
  const text = template.replaceAll(PLACEHOLDER, 'x'.repeat(GUARANTEED_NAME_LENGTH));
  if (!template.includes(PLACEHOLDER)) problems.push(`The text must contain ${PLACEHOLDER}.`);
  if (!/\bSTOP\b/.test(text)) problems.push('The text must contain the word STOP in capitals.');
  problems.push(...braceProblems(template.replaceAll(PLACEHOLDER, '')));
  if (URL_LIKE.some((pattern) => pattern.test(text))) {
    problems.push('The text must not contain a web address: carriers filter it.');
  }
  const foreign = nonGsm7Characters(template);
  if (foreign.length > 0) {
    problems.push(`These characters do not fit a plain text message: ${foreign.map(describe).join(', ')}.`);
  }
  const { units } = countSegments(toGsm7(text));
  if (units > GSM7_SINGLE_SEGMENT) {
    problems.push(
      `With a business name of ${GUARANTEED_NAME_LENGTH} characters the text takes ${units} of ${GSM7_SINGLE_SEGMENT} characters.`,
    );
  }
  return problems.length === 0 ? { ok: true } : { ok: false, problems };
}

function braceProblems(rest: string): string[] {
  const unknown = [...new Set(rest.match(/\{[^{}]*\}/g))];
  if (unknown.length > 0) return [`Unknown placeholder: ${unknown.join(', ')}. Only ${PLACEHOLDER} is known.`];
  return /[{}]/.test(rest) ? ['The text has a curly brace that belongs to no placeholder.'] : [];
}

function describe(character: string): string {
  const codePoint = (character.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, '0');
  return /[\p{L}\p{N}\p{P}\p{S}]/u.test(character) ? `${character} (U+${codePoint})` : `U+${codePoint}`;
}

/** The end loses its full stops, because a template usually has one there. */
function nameOf(businessName: string): string {
  const name = toGsm7(businessName.slice(0, MAX_NAME_INPUT)).replace(/\s+/g, ' ').trim();
  return name.replace(/[. ]+$/, '') || NAMELESS;
}

function shorten(name: string, room: number): string {
  if (septets(name) <= room) return name;
  let used = 0;
  let cut = '';
  for (const character of name) {
    used += septetsOf(character);
    if (used > room) break;
    cut += character;
  }
  // A boundary in the first half would drop more of the name than it saves in looks.
  const boundary = name[cut.length] === ' ' ? cut.length : cut.lastIndexOf(' ');
  const words = boundary >= cut.length / 2 ? cut.slice(0, boundary) : cut;
  return words.replace(/(?:[\s,;:&+/.(-]|\band$)+$/i, '') || cut;
}

function septets(text: string): number {
  return countSegments(text).units;
}

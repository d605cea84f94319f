import { classifyKey } from './key-classes.js';

/**
 * How sure the surroundings are that digits are a phone number: `strong` for a word or field that means nothing else
 * (`mobile`, `caller`, `tel:`), `weak` for one that is often something else (`from`, `to`, `call`), `none` otherwise.
 */
export type PhoneContext = 'strong' | 'weak' | 'none';

const words = (list: string): ReadonlySet<string> => new Set(list.split(/\s+/));

const STRONG =
  words(`phone phones telephone tel mobile cell cellphone msisdn caller callers callee callback whatsapp fax
  e164 dial dials dialed dialled dialing ring rings rang phonenumber phonenumbers callto`);
const WEAK = words(`call calls called calling from to sms text texts texted texting number numbers contact contacted
  reach recipient recipients sender forwarded`);
/** Nouns of things that are counted or numbered: the digits after them are theirs, whatever stands further left. */
const NUMBERED =
  words(`id ids xid pid tid oid sid uuid order orders invoice ticket ref reference job took after in lasted
  elapsed duration offset seq sequence version versions build revision epoch ts timestamp account acct tracking sku size
  length count total row rows byte bytes cents usd eur gbp cad amount revenue port ports range window hash trace span
  event outbox tenant user lsn exp iat session code txid xmin commit block serial estimate since until between`);
/** What stands left of `from` and `to` when they are the ends of a range. */
const RANGED =
  words(`range ranges port ports bytes byte rows row lines line offset offsets seq version versions upgraded
  upgrade bumped migrated moved epoch window id ids page pages pid timestamps grew rose fell dropped increased decreased
  changed went counter value`);
const PHONE_NOUN = words('caller phone mobile cell telephone tel contact callback sms customer whatsapp');
const ORDINAL = words('id number no num');
const DIRECT_SCHEME = words('sms tel callto smsto facetime sip sips');

const REACH = 48;
const MAX_WORDS = 5;
const GLUE = '\t→ :=\'"\\([<{#*_>/-.,\u200b&?~';
const GLUE_BETWEEN_WORDS = " _/-:,'\u200b";
const UNIT_AFTER =
  /(?: ?(?:ns|us|µs|μs|ms|secs?|seconds?|mins?|minutes?|hours?|hrs?|bytes?|[kmgt]i?b|rows?|items?|records?|cents|usd|eur|gbp|dollars|ticks|cycles|ops)| ?%|[sb])(?![a-z0-9])/iy;

function isWordCode(code: number): boolean {
  const lower = code | 0x20;
  return (lower >= 0x61 && lower <= 0x7a) || (code >= 0x30 && code <= 0x39);
}

interface Word {
  readonly start: number;
  readonly text: string;
}

function wordEndingAt(text: string, end: number, floor: number): Word {
  let start = end;
  while (start > floor && isWordCode(text.charCodeAt(start - 1))) start--;
  return { start, text: text.slice(start, end) };
}

function identifierEndingAt(text: string, end: number, floor: number): string {
  let start = end;
  for (; start > floor; start--) {
    const code = text.charCodeAt(start - 1);
    if (!isWordCode(code) && code !== 0x5f && code !== 0x2d && code !== 0x2e) break;
  }
  return text.slice(start, end);
}

/** `customerPhone` counts as `phone`, `PhoneNumbers` as `numbers` after `phone`, `text1` as `text`. */
function lastWords(word: string): string[] {
  return word
    .replace(/^(?!e164$)(.*?[a-z])\d+$/i, '$1')
    .replace(/([a-z])([A-Z])/g, '$1 $2')
    .toLowerCase()
    .split(' ');
}

function ofKey(key: string): PhoneContext {
  const keyClass = classifyKey(key);
  if (keyClass === 'phone') return 'strong';
  return keyClass === 'maybePhone' || keyClass === 'body' ? 'weak' : 'none';
}

function collectWords(text: string, end: number, floor: number): { words: string[]; reachedStart: boolean } {
  const found: string[] = [];
  let at = end;
  while (found.length < MAX_WORDS) {
    const word = wordEndingAt(text, at, floor);
    if (word.text === '') break;
    const parts = lastWords(word.text);
    for (let i = parts.length - 1; i >= 0; i--) found.push(parts[i] ?? '');
    at = word.start;
    while (at > floor && GLUE_BETWEEN_WORDS.includes(text.charAt(at - 1))) at--;
    if (at === 0) return { words: found, reachedStart: true };
  }
  return { words: found, reachedStart: false };
}

function judge(found: readonly string[], ambient: PhoneContext): PhoneContext {
  for (let i = 0; i < found.length; i++) {
    const word = found[i] ?? '';
    const before = found[i + 1] ?? '';
    if (word === '') return 'none';
    if (ORDINAL.has(word)) {
      if (PHONE_NOUN.has(before)) return 'strong';
      if (word === 'id' || NUMBERED.has(before)) return 'none';
    }
    if (STRONG.has(word)) return 'strong';
    if (NUMBERED.has(word)) return 'none';
    if (!WEAK.has(word)) continue;
    const ranged = (word === 'from' || word === 'to') && found.slice(i + 1, i + 3).some((noun) => RANGED.has(noun));
    return ranged ? 'none' : 'weak';
  }
  return ambient;
}

/**
 * Looks back from digits at `start`, over a few words and never past a quotation or a clause, for what they are.
 *
 * @param ambient the verdict when nothing but the beginning of the text stands before the digits: that of the field
 *   whose value the text is.
 */
export function phoneContextBefore(text: string, start: number, ambient: PhoneContext): PhoneContext {
  const floor = Math.max(0, start - REACH);
  let at = start;
  while (at > floor && GLUE.includes(text.charAt(at - 1))) at--;
  if (at === 0) return ambient;
  if (text.startsWith('wa.me/', start - 6)) return 'strong';
  const glue = text.slice(at, start);
  const word = wordEndingAt(text, at, floor);
  if (word.text === '' || /^\d+$/.test(word.text)) return 'none';
  if (glue.includes('=') || /["'\\]+ *: */.test(glue)) return ofKey(identifierEndingAt(text, at, floor));
  if (glue === ':' && DIRECT_SCHEME.has(word.text.toLowerCase())) return 'strong';
  if (glue === '' || /^[_-]+$/.test(glue)) {
    // Joined to the word, as in `EV4155550132` or `INV-4155550132`: that word decides alone.
    return judge(lastWords(word.text), 'none');
  }
  const { words: found, reachedStart } = collectWords(text, at, floor);
  return judge(found, reachedStart ? ambient : 'none');
}

/** Whether what follows the digits makes them a quantity: a unit of time, size or money. */
export function isFollowedByUnit(text: string, end: number): boolean {
  UNIT_AFTER.lastIndex = end;
  return UNIT_AFTER.test(text);
}

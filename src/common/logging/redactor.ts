import { createHmac } from 'node:crypto';
import { BODY_MASK, findCredentials, maskBody, SECRET_MASK } from './redaction/credentials.js';
import { EMAIL_MASK, findEmails } from './redaction/email-addresses.js';
import { type FoldedText, foldText, replaceSpans, type Span } from './redaction/folded-text.js';
import { type JsonRewriter, looksLikeJson, rewriteJson } from './redaction/json-document.js';
import { type KeyClass } from './redaction/key-classes.js';
import { couldBeBareNumber, findPhones, maskDigits } from './redaction/phone-candidates.js';
import { type PhoneContext } from './redaction/phone-context.js';
import { isIdOrTime } from './redaction/protected-shapes.js';
import { truncateLine } from './redaction/truncate-line.js';
import { walkValue } from './redaction/walk-value.js';

/** What a redaction removed. */
export type RedactionKind = 'phone' | 'email' | 'secret' | 'body';

/** How a redactor tells what it did, without knowing who counts. */
export interface RedactorOptions {
  /** Called once for each value that is masked. It must not throw; what it throws reaches the caller of the redactor. */
  onRedaction?: (kind: RedactionKind) => void;
}

/**
 * The nets that keep personal data out of logs, spans, error answers and dead-letter pages. All are pure, synchronous
 * and take time linear in their input. What they return is stable: redacting it again changes nothing.
 */
export interface Redactor {
  /**
   * The text net: masks phone numbers to their last four digits (`***0132`), e-mail addresses (`***@***`) and
   * credentials (`***`) in free text, URLs, SQL and stacks. Ids, times, money, versions and addresses of machines stay
   * byte for byte.
   */
  redactText(text: string): string;
  /**
   * The key-aware net: returns a copy of a value for logging, in which the name of each field decides what bare digits
   * are, credentials go and message bodies become their length (`[37 chars]`). Errors and maps become plain objects.
   * Depth, breadth and size are bounded, cycles are cut.
   *
   * @param key the name of the field that holds the value.
   */
  redactValue(value: unknown, key?: string): unknown;
  /**
   * The line net over a finished log line: a JSON object or array is redacted key by key and otherwise left byte for
   * byte, anything else as text. A line that is longer than 16 KB after redaction is cut, and says `truncated`.
   */
  redactLine(line: string): string;
}

const MAX_NESTED_JSON = 3;
const MAX_PASSES = 4;
const FEWEST_DIGITS = 7;
const LONGEST_DIGITS = 15;
const NUMERIC = /^[+-]?\d+(?:[.,]\d+)*$/;
const AT_SIGN = /@/;

/** What a quick look at the characters says about the passes that a text needs. */
const NEEDS_PHONES = 1;
const NEEDS_EMAILS = 2;
const NEEDS_CREDENTIALS = 4;

/** Texts in which nothing was found: the same few names and values come again with every line. */
const clean = new Set<string>();
const CLEAN_LIMIT = 4096;
const CLEAN_LENGTH = 64;

function inspect(text: string): number {
  let digits = 0;
  let needs = 0;
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code >= 0x30 && code <= 0x39) digits++;
    else if (code === 0x40) needs |= NEEDS_EMAILS;
    else if (code === 0x3d || code === 0x3a || code === 0x20 || code === 0x2e || code === 0x5f) {
      needs |= NEEDS_CREDENTIALS;
    } else if (code >= 0x80 || code === 0x5c || code === 0x25 || code === 0x26) needs |= NEEDS_PHONES | NEEDS_EMAILS;
  }
  return digits >= FEWEST_DIGITS ? needs | NEEDS_PHONES : needs;
}

/** Makes a redactor; see `Redactor` for what it does and `RedactorOptions` for how to count what it did. */
export function createRedactor(options: RedactorOptions = {}): Redactor {
  const report = options.onRedaction ?? (() => undefined);

  const replace = (text: string, folded: FoldedText, spans: readonly Span[], kind: RedactionKind): string => {
    for (let i = 0; i < spans.length; i++) report(kind);
    return replaceSpans(text, folded, spans);
  };

  const pass = (text: string, ambient: PhoneContext): string => {
    const needs = inspect(text);
    let out = text;
    if (needs & NEEDS_CREDENTIALS && !clean.has(text)) {
      const spans = findCredentials(out);
      for (const span of spans) report(span.kind);
      if (spans.length > 0) out = replaceSpans(out, { text: out, origin: null }, spans);
      else if (needs === NEEDS_CREDENTIALS && text.length <= CLEAN_LENGTH && clean.size < CLEAN_LIMIT) clean.add(text);
    }
    if ((needs & (NEEDS_EMAILS | NEEDS_PHONES)) === 0) return out;
    let folded = foldText(out);
    if (AT_SIGN.test(folded.text)) {
      const emails = findEmails(folded.text);
      if (emails.length > 0) {
        out = replace(out, folded, emails, 'email');
        folded = foldText(out);
      }
    }
    const phones = needs & NEEDS_PHONES ? findPhones(folded.text, ambient) : [];
    return phones.length > 0 ? replace(out, folded, phones, 'phone') : out;
  };

  // A mask changes what stands beside other digits, so a text is read until nothing more is found in it.
  const readText = (text: string, ambient: PhoneContext): string => {
    let out = text;
    for (let passes = 0; passes < MAX_PASSES; passes++) {
      const next = pass(out, ambient);
      if (next === out) break;
      out = next;
    }
    return out;
  };

  const secret = (value: string): string => {
    if (value === '' || value === SECRET_MASK) return value;
    report('secret');
    return SECRET_MASK;
  };

  const body = (value: string): string => {
    if (value === '' || BODY_MASK.test(value)) return value;
    report('body');
    return maskBody(value);
  };

  const email = (value: string): string => {
    if (value === EMAIL_MASK || !AT_SIGN.test(foldText(value).text)) return readText(value, 'none');
    report('email');
    return EMAIL_MASK;
  };

  const plain = (value: string, depth: number): string => {
    if (isIdOrTime(value)) return value;
    if (depth < MAX_NESTED_JSON && value.length > 4 && looksLikeJson(value)) {
      const rewritten = rewriteJson(value, rewriter(depth + 1));
      if (rewritten !== undefined) return rewritten;
    }
    return readText(value, 'none');
  };

  const readString = (value: string, keyClass: KeyClass, depth: number): string => {
    switch (keyClass) {
      case 'secret':
        return secret(value);
      case 'body':
        return body(value);
      case 'email':
        return email(value);
      case 'phone':
        return readText(value, 'strong');
      case 'maybePhone':
        return readText(value, 'weak');
      case 'id':
        return /^\d+$/.test(value) ? value : plain(value, depth);
      case 'money':
        return NUMERIC.test(value) ? value : plain(value, depth);
      default:
        return plain(value, depth);
    }
  };

  /** A JS number is a phone number only under a name that says so. */
  const readNumber = (literal: string, keyClass: KeyClass): string | undefined => {
    if (keyClass === 'secret') return secret(literal);
    const digits = literal.endsWith('.0') ? literal.slice(0, -2) : literal;
    if (digits.length < FEWEST_DIGITS || digits.length > LONGEST_DIGITS || !/^\d+$/.test(digits)) return undefined;
    if (keyClass === 'body') return body(literal);
    if (keyClass !== 'phone' && !(keyClass === 'maybePhone' && couldBeBareNumber(digits))) return undefined;
    report('phone');
    return maskDigits(digits);
  };

  /** Digits that name a field are a phone number where the fields are counted by phone number. */
  const readKey = (name: string, parent: KeyClass): string => {
    const ambient = parent === 'phone' ? 'strong' : parent === 'maybePhone' ? 'weak' : 'none';
    return name.length < FEWEST_DIGITS ? name : readText(name, ambient);
  };

  const unlessSame = (before: string, after: string): string | undefined => (before === after ? undefined : after);

  const rewriters: JsonRewriter[] = [];
  const rewriter = (depth: number): JsonRewriter => {
    rewriters[depth] ??= {
      key: (name, parent) => unlessSame(name, readKey(name, parent)),
      text: (value, keyClass) => unlessSame(value, readString(value, keyClass, depth)),
      number: readNumber,
      container: (keyClass) => (keyClass === 'secret' ? secret('object') : undefined),
    };
    return rewriters[depth];
  };

  return {
    redactText: (text) => readText(text, 'none'),
    redactValue: (value, key) =>
      walkValue(value, key, {
        key: readKey,
        text: (text, keyClass) => readString(text, keyClass, 0),
        number: readNumber,
        container: (keyClass) => (keyClass === 'secret' ? secret('object') : undefined),
      }),
    redactLine: (line) => {
      const json = looksLikeJson(line) ? rewriteJson(line, rewriter(0)) : undefined;
      return truncateLine(json ?? readText(line, 'none'), json !== undefined);
    },
  };
}

const silent = createRedactor();

/** The text net of a redactor that tells nobody; see `Redactor`. */
export const redactText = silent.redactText;
/** The key-aware net of a redactor that tells nobody; see `Redactor`. */
export const redactValue = silent.redactValue;
/** The line net of a redactor that tells nobody; see `Redactor`. */
export const redactLine = silent.redactLine;

/**
 * A keyed fingerprint by which one caller can be followed through logs that never show the number.
 *
 * @param e164 the number in E.164, `+14155550132`.
 * @param key the secret of this deployment; without it the few possible numbers could be tried out.
 * @returns 8 hexadecimal digits of the HMAC-SHA-256.
 */
export function phoneHash(e164: string, key: string): string {
  return createHmac('sha256', key).update(e164).digest('hex').slice(0, 8);
}

const DIGIT = 1;
const LETTER = 2;
const HEX_LETTER = 4;

const KIND = new Uint8Array(128);
for (let code = 0x30; code <= 0x39; code++) KIND[code] = DIGIT;
for (let code = 0x61; code <= 0x7a; code++) {
  const kind = code <= 0x66 ? LETTER | HEX_LETTER : LETTER;
  KIND[code] = kind;
  KIND[code - 0x20] = kind;
}

export function isDigitCode(code: number): boolean {
  return code >= 0x30 && code <= 0x39;
}

/**
 * Walks a text word by word (a word is a run of ASCII letters and digits) and stops at each run of digits. Every word
 * is measured once, however many runs of digits it holds.
 */
export class Words {
  /** The current word. */
  start = 0;
  end = 0;
  /** Whether the current word is made of hexadecimal digits only. */
  isHex = false;
  hasLetter = false;

  constructor(private readonly text: string) {}

  /** The first run of digits at or after `from`, or -1. */
  nextDigit(from: number): number {
    const { text } = this;
    for (let at = from; at < text.length; at++) {
      const code = text.charCodeAt(at);
      const kind = code < 128 ? (KIND[code] ?? 0) : 0;
      if (kind === 0) continue;
      if (at >= this.end) this.measure(at);
      if (kind === DIGIT) return at;
    }
    return -1;
  }

  private measure(start: number): void {
    const { text } = this;
    let all = DIGIT | HEX_LETTER;
    let any = 0;
    let end = start;
    for (; end < text.length; end++) {
      const code = text.charCodeAt(end);
      const kind = code < 128 ? (KIND[code] ?? 0) : 0;
      if (kind === 0) break;
      if (kind === LETTER) all = 0;
      any |= kind;
    }
    this.start = start;
    this.end = end;
    this.isHex = all !== 0;
    this.hasLetter = (any & LETTER) !== 0;
  }
}

const UUID = /[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}(?![0-9a-z])/iy;
const SID = /[A-Z]{2}[0-9a-fA-F]{32}/y;
const DATE_TIME =
  /(?:(?:19|20)\d\d([-/.])\d\d\1\d\d|\d\d([-/.])\d\d\2(?:19|20)\d\d)(?!\d)(?:[T_ ]\d\d:\d\d(?::\d\d(?:[.,]\d{1,9})?)?(?:Z| ?[+-]\d\d:?\d\d(?! ?\d))?)?/y;
const IP_ADDRESS = /(?:0|[1-9]\d{0,2})(?:\.(?:0|[1-9]\d{0,2})){3}(?!\.?\d)(?:\/\d{1,2}(?!\d))?(?::\d{1,5}(?!\d))?/y;
const ID_OR_TIME =
  /^(?:[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|(?:19|20)\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z)$/;
const SID_LENGTH = 34;
const SHORTEST_HEX = 16;

/**
 * Where a shape that merely contains digits ends, if one lies at `at`: a UUID, a SID, a hexadecimal or long decimal id,
 * a date, an IP address. Otherwise `at`.
 *
 * @param signed whether a plus sign precedes: `+14155550132abcdef` is a number with a word stuck to it.
 */
export function protectedEnd(text: string, at: number, word: Words, signed: boolean): number {
  const length = word.end - word.start;
  if (length === SID_LENGTH && matches(SID, text, word.start)) return word.end;
  if (word.isHex && length === 8 && text.charCodeAt(word.end) === 0x2d && matches(UUID, text, word.start)) {
    return UUID.lastIndex;
  }
  const isNumberWithWord = signed && word.hasLetter && at === word.start;
  if (word.isHex && length >= SHORTEST_HEX && !isNumberWithWord) return word.end;
  if (signed) return at;
  if (isDateAt(text, at)) return DATE_TIME.lastIndex;
  const dotted = text[at + 1] === '.' || text[at + 2] === '.' || text[at + 3] === '.';
  return dotted && text[at - 1] !== '.' && matches(IP_ADDRESS, text, at) ? IP_ADDRESS.lastIndex : at;
}

/** Whether a text is a UUID or a time and nothing else, as half the values of a log line are: nothing can be in it. */
export function isIdOrTime(text: string): boolean {
  return (text.length === 36 || text.length === 24) && ID_OR_TIME.test(text);
}

/** Whether a date begins at `at`. */
export function isDateAt(text: string, at: number): boolean {
  return (isDateMark(text.charCodeAt(at + 4)) || isDateMark(text.charCodeAt(at + 2))) && matches(DATE_TIME, text, at);
}

function isDateMark(code: number): boolean {
  return code === 0x2d || code === 0x2e || code === 0x2f;
}

function matches(pattern: RegExp, text: string, at: number): boolean {
  pattern.lastIndex = at;
  return pattern.test(text);
}

/**
 * A plain-ASCII reading of a text in which one number or address may be spelled in many ways:
 * `%2B1415…`, `%252B`, full-width or Arabic digits, U+2011 hyphens, no-break and zero-width spaces,
 * `&#43;`, `\u002b`. The detectors read the folded form; masks are applied to the original through
 * `origin`, so that everything around a mask keeps its bytes.
 */
export interface FoldedText {
  readonly text: string;
  /** For each folded index, and one past the end, the index in the original. Null when nothing was folded. */
  readonly origin: Uint32Array | null;
}

/** A stretch of a text to be replaced, as `[start, end)`. */
export interface Span {
  readonly start: number;
  readonly end: number;
  readonly mask: string;
}

/** The one character that every invisible character folds to: it separates digits but not the parts of an address. */
export const INVISIBLE = 0x200b;

const WORTH_FOLDING = /[^\0-\x7f]|%[0-9a-f]{2}|\\[nrtux]|&#/i;
const BACKSLASH_ESCAPE = /\\+(?:([nrt])|u([0-9a-f]{4})|x([0-9a-f]{2}))/iy;
const NUMERIC_ENTITY = /&#(?:x([0-9a-f]{1,5})|(\d{1,6}));/iy;

const SPACES = new Set([0x00a0, 0x1680, 0x202f, 0x205f, 0x3000]);
const DASHES = new Set([0x2022, 0x2212, 0xfe58, 0xfe63, 0xff0d]);
const INVISIBLES = new Set([0x00ad, 0x061c, 0x180e, 0x2060, 0xfeff]);
const DIGIT_ZEROS = [0x0660, 0x06f0, 0x0966, 0x09e6, 0xff10];
const LOOKALIKES = new Map<number, string>([
  [0x00b7, '.'],
  [0x2024, '.'],
  [0x2044, '/'],
  [0x2795, '+'],
  [0xfe62, '+'],
  [0xff0b, '+'],
  [0xfe6b, '@'],
  [0xff20, '@'],
  [0xff08, '('],
  [0xff09, ')'],
  [0xff0e, '.'],
  [0xff0f, '/'],
]);

function foldCharCode(code: number): number {
  if (code < 0x80) return code;
  if ((code >= 0x2000 && code <= 0x200a) || SPACES.has(code)) return 0x20;
  if ((code >= 0x2010 && code <= 0x2015) || DASHES.has(code)) return 0x2d;
  if ((code >= 0x200b && code <= 0x200f) || (code >= 0x202a && code <= 0x202e)) return INVISIBLE;
  if ((code >= 0x2066 && code <= 0x2069) || INVISIBLES.has(code)) return INVISIBLE;
  for (const zero of DIGIT_ZEROS) if (code >= zero && code <= zero + 9) return 0x30 + code - zero;
  return LOOKALIKES.get(code)?.charCodeAt(0) ?? code;
}

function hexDigit(code: number): number {
  if (code >= 0x30 && code <= 0x39) return code - 0x30;
  const lower = code | 0x20;
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x57 : -1;
}

/** One character read from an escape, and where the text goes on after it; `code` is -1 when there is no escape. */
interface Escape {
  code: number;
  end: number;
}

/** Reads `%41`, and the same percent-encoded any number of times over (`%2541`, `%252541`), as one byte. */
function readPercentByte(text: string, at: number, into: Escape): void {
  into.code = -1;
  if (text.charCodeAt(at) !== 0x25) return;
  let digits = at + 1;
  let high = hexDigit(text.charCodeAt(digits));
  let low = hexDigit(text.charCodeAt(digits + 1));
  while (high === 2 && low === 5) {
    const nextHigh = hexDigit(text.charCodeAt(digits + 2));
    const nextLow = hexDigit(text.charCodeAt(digits + 3));
    if (nextHigh < 0 || nextLow < 0) break;
    high = nextHigh;
    low = nextLow;
    digits += 2;
  }
  if (high < 0 || low < 0) return;
  into.code = high * 16 + low;
  into.end = digits + 2;
}

/** Reads a percent-encoded character of the basic plane, that is, one to three UTF-8 bytes. */
function readPercent(text: string, at: number, into: Escape): void {
  readPercentByte(text, at, into);
  const lead = into.code;
  if (lead < 0xc2 || lead > 0xef) return;
  const end = into.end;
  let code = lead < 0xe0 ? lead & 0x1f : lead & 0x0f;
  for (let more = lead < 0xe0 ? 1 : 2; more > 0; more--) {
    readPercentByte(text, into.end, into);
    if ((into.code & 0xc0) !== 0x80) {
      into.code = lead;
      into.end = end;
      return;
    }
    code = (code << 6) | (into.code & 0x3f);
  }
  into.code = code;
}

function readBackslash(text: string, at: number, into: Escape): void {
  BACKSLASH_ESCAPE.lastIndex = at;
  const match = BACKSLASH_ESCAPE.exec(text);
  into.code = -1;
  if (!match) {
    // A long run of backslashes is stepped over at once: the pattern above has read all of it already.
    let end = at + 1;
    while (text.charCodeAt(end) === 0x5c) end++;
    into.end = end;
    return;
  }
  into.code = match[1] ? 0x20 : Number.parseInt(match[2] ?? match[3] ?? '', 16);
  into.end = BACKSLASH_ESCAPE.lastIndex;
}

function readEntity(text: string, at: number, into: Escape): void {
  NUMERIC_ENTITY.lastIndex = at;
  const match = NUMERIC_ENTITY.exec(text);
  into.code = match ? (match[1] ? Number.parseInt(match[1], 16) : Number(match[2])) : -1;
  into.end = NUMERIC_ENTITY.lastIndex;
}

/** Folds a text in linear time. A text with nothing to fold, which is nearly every text, is returned as it is. */
export function foldText(text: string): FoldedText {
  if (!WORTH_FOLDING.test(text)) return { text, origin: null };
  const codes = new Uint16Array(text.length);
  const origin = new Uint32Array(text.length + 1);
  const read: Escape = { code: -1, end: 0 };
  let length = 0;
  let at = 0;
  while (at < text.length) {
    const code = text.charCodeAt(at);
    read.code = -1;
    read.end = at + 1;
    if (code === 0x25) readPercent(text, at, read);
    else if (code === 0x5c) readBackslash(text, at, read);
    else if (code === 0x26 && text.charCodeAt(at + 1) === 0x23) readEntity(text, at, read);
    if (read.code >= 0) {
      codes[length] = foldCharCode(read.code & 0xffff);
      origin[length++] = at;
      at = read.end;
      continue;
    }
    const end = code === 0x5c ? read.end : at + 1;
    for (; at < end; at++) {
      codes[length] = foldCharCode(text.charCodeAt(at));
      origin[length++] = at;
    }
  }
  origin[length] = text.length;
  const folded = Buffer.from(codes.buffer, 0, length * 2).toString('utf16le');
  return { text: folded, origin: origin.subarray(0, length + 1) };
}

/** Replaces spans, found in the folded text in ascending order, in the original text. */
export function replaceSpans(original: string, folded: FoldedText, spans: readonly Span[]): string {
  let out = '';
  let copied = 0;
  for (const span of spans) {
    const start = folded.origin?.[span.start] ?? span.start;
    out += original.slice(copied, start) + span.mask;
    copied = folded.origin?.[span.end] ?? span.end;
  }
  return out + original.slice(copied);
}

import { INVISIBLE, type Span } from './folded-text.js';

/** The mask of an e-mail address: a domain of one's own would identify as well as the name before it. */
export const EMAIL_MASK = '***@***';

const LOCAL_CODES = new Uint8Array(128);
for (const char of "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.!#$'*+-^_~%`") {
  LOCAL_CODES[char.charCodeAt(0)] = 1;
}
const LEADING = /^[^a-z0-9\u0080-\uffff]+/i;
const WORD_CHAR = /[\p{L}\p{M}\p{N}]/u;
const TOP_LEVEL = /^(?:xn--[a-z0-9-]+|[\p{L}\p{M}]{2,63})$/iu;
const FILE_SUFFIX =
  /^(?:[cm]?[jt]s|[jt]sx|json|html?|css|png|jpe?g|gif|svg|webp|ico|ya?ml|lock|tgz|log|txt|sql|map|node)$/i;
const RELEASE = /^v?\d+\.\d+/;
const SCP_PATH = /[:/]/;
const TRAILING = '.-\u200b';
const LONGEST_DOMAIN = 512;

function isWordChar(text: string, at: number): boolean {
  const code = text.charCodeAt(at);
  if (code < 128) {
    const lower = code | 0x20;
    return (lower >= 0x61 && lower <= 0x7a) || (code >= 0x30 && code <= 0x39);
  }
  return code === INVISIBLE || WORD_CHAR.test(text[at] ?? '');
}

/** The beginning of the part before the `@` at `at`; never before `floor`. */
function localStart(text: string, at: number, floor: number): number {
  if (text[at - 1] === '"') {
    const open = text.lastIndexOf('"', at - 2);
    return open >= floor && at - open <= 66 ? open : at;
  }
  let start = at;
  for (; start > floor; start--) {
    const code = text.charCodeAt(start - 1);
    if (code < 128 ? LOCAL_CODES[code] !== 1 : !isWordChar(text, start - 1)) break;
  }
  // A mailing list writes the reader's address into its own: `bounce+jane=example.com@lists.example.net`.
  if (start > floor && text[start - 1] === '=' && text.slice(start, at).includes('.')) {
    let outer = start - 1;
    while (outer > floor && LOCAL_CODES[text.charCodeAt(outer - 1)] === 1) outer--;
    const name = text.slice(outer, start - 1);
    if (name.includes('+')) start = outer;
  }
  return start + (LEADING.exec(text.slice(start, at))?.[0].length ?? 0);
}

/** The end of the domain that begins at `from`, or -1 if what stands there is not one. */
function domainEnd(text: string, from: number): number {
  let end = from;
  for (; end < text.length && end - from < LONGEST_DOMAIN; end++) {
    const code = text.charCodeAt(end);
    if (code !== 0x2e && code !== 0x2d && !isWordChar(text, end)) break;
  }
  let domain = text.slice(from, end);
  if (RELEASE.test(domain)) return -1;
  for (;;) {
    let length = domain.length;
    while (length > 0 && TRAILING.includes(domain[length - 1] ?? '')) length--;
    const dot = domain.lastIndexOf('.', length - 1);
    if (dot <= 0) return -1;
    const suffix = domain.slice(dot + 1, length);
    if (TOP_LEVEL.test(suffix) && !FILE_SUFFIX.test(suffix)) return from + length;
    domain = domain.slice(0, dot);
  }
}

/**
 * The e-mail addresses of a folded text (see `foldText`), in ascending order. Package releases (`pino@10.4.0`), image
 * digests (`nmc@sha256:…`) and remotes (`git@github.com:…`) only look like addresses. Linear: no character is read more
 * than twice in either direction, because an `@` ends both parts.
 */
export function findEmails(text: string): readonly Span[] {
  const spans: Span[] = [];
  let floor = 0;
  for (let at = text.indexOf('@'); at >= 0; at = text.indexOf('@', at + 1)) {
    const start = localStart(text, at, floor);
    floor = at + 1;
    if (start >= at) continue;
    const end = text[at + 1] === '[' ? literalEnd(text, at + 1) : domainEnd(text, at + 1);
    if (end < 0) continue;
    if (at - start === 3 && text.startsWith('git', start) && SCP_PATH.test(text[end] ?? ' ')) continue;
    spans.push({ start, end, mask: EMAIL_MASK });
    floor = end;
  }
  return spans;
}

/** `jane@[192.0.2.1]`. */
function literalEnd(text: string, open: number): number {
  const close = text.slice(open, open + 48).indexOf(']');
  return close > 1 && /^\[(?:ipv6:)?[0-9a-f.:]+$/i.test(text.slice(open, open + close)) ? open + close + 1 : -1;
}

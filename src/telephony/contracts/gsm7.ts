/** How a text travels and what it costs: `units` are septets of GSM-7 or UTF-16 code units of UCS-2. */
export interface SegmentCount {
  encoding: 'GSM-7' | 'UCS-2';
  units: number;
  segments: number;
}

/** Units that one SMS holds alone, and as a part of a longer text, which loses six octets to the part header. */
const CAPACITY = {
  'GSM-7': { single: 160, part: 153 },
  'UCS-2': { single: 70, part: 67 },
} as const;

/** Septets that fit into a text of one segment. */
export const GSM7_SINGLE_SEGMENT = CAPACITY['GSM-7'].single;

/** GSM 03.38 (3GPP TS 23.038) basic table, one septet each, in table order without the escape. */
const BASIC: ReadonlySet<string> = new Set(
  '@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !"#¤%&\'()*+,-./0123456789:;<=>?' +
    '¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà',
);

/** Its extension table: an escape and the character, two septets. */
const EXTENSION: ReadonlySet<string> = new Set('\f^{}\\[~]|€');

/** Counts the segments of a text as the carrier bills them. An empty text has none. */
export function countSegments(text: string): SegmentCount {
  const characters = [...text];
  const isGsm7 = characters.every((character) => septetsOf(character) > 0);
  const encoding = isGsm7 ? 'GSM-7' : 'UCS-2';
  const costs = characters.map((character) => (isGsm7 ? septetsOf(character) : character.length));
  const units = costs.reduce((sum, cost) => sum + cost, 0);
  const { single, part } = CAPACITY[encoding];
  if (units <= single) return { encoding, units, segments: units === 0 ? 0 : 1 };
  return { encoding, units, segments: partsOf(costs, part) };
}

/** A character is never split: an escaped or surrogate pair that would straddle two parts moves to the next one. */
function partsOf(costs: readonly number[], capacity: number): number {
  let parts = 1;
  let used = 0;
  for (const cost of costs) {
    if (used + cost > capacity) {
      parts += 1;
      used = 0;
    }
    used += cost;
  }
  return parts;
}

/** Septets of one character: 1, 2 for the extension table, 0 when GSM-7 does not have it. */
export function septetsOf(character: string): 0 | 1 | 2 {
  if (BASIC.has(character)) return 1;
  return EXTENSION.has(character) ? 2 : 0;
}

/** The distinct characters of a text that would push it out of GSM-7, in order of appearance. */
export function nonGsm7Characters(text: string): string[] {
  return [...new Set(text)].filter((character) => septetsOf(character) === 0);
}

/** What Unicode's own decomposition does not give. Keys are characters, values GSM-7 text. */
const REPLACEMENTS: ReadonlyMap<string, string> = new Map(
  Object.entries({
    "'": '`´‘’‚‛′ʹʻʼˈ‹›',
    '"': '“”„‟″«»',
    '-': '‐‑‒–—―−•·⁃',
    '/': '⁄∕÷',
    '~': '∼',
    '|': '¦',
    '*': '∗',
    '\n': '\u0085\u2028\u2029\v',
    ' ': '\t\u1680',
    x: '×',
    c: '¢',
    D: 'ĐÐ',
    d: 'đð',
    H: 'Ħ',
    h: 'ħ',
    i: 'ı',
    L: 'Ł',
    l: 'ł',
    T: 'Ŧ',
    t: 'ŧ',
    OE: 'Œ',
    oe: 'œ',
    SS: 'ẞ',
    Th: 'Þ',
    th: 'þ',
    '': '™℠\f',
  }).flatMap(([to, from]) => [...from].map((character) => [character, to] as const)),
);

/**
 * Writes a text in GSM-7: typographic quotes, dashes and spaces become plain, letters lose the accents that GSM-7 does
 * not have (`á` to `a`, `ç` to `c`; `é` and `ñ` stay), compatibility forms such as full-width letters are unfolded, and
 * whatever is left (emoji, other scripts, control, zero-width and direction characters, lone surrogates) is dropped.
 * Line breaks stay, as `\n`. The result may be empty; a second pass changes nothing.
 */
export function toGsm7(text: string): string {
  let result = '';
  for (const character of text.replace(/\r\n?/g, '\n').normalize('NFC')) result += transliterate(character);
  return result;
}

function transliterate(character: string): string {
  const replacement = REPLACEMENTS.get(character);
  if (replacement !== undefined) return replacement;
  if (septetsOf(character) > 0) return character;
  // Decomposed, "not equal" would say "equal".
  if (/\p{Sm}/u.test(character)) return '';
  let result = '';
  for (const part of character.normalize('NFKD')) {
    if (septetsOf(part) > 0) result += part;
    else result += REPLACEMENTS.get(part) ?? '';
  }
  return result;
}

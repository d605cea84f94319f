/** The most bytes of a line, its end of line not counted: what container runtimes pass on in one piece. */
export const MAX_LINE_BYTES = 16_384;

const MARK = '…[truncated]';
const LONGEST_VALUE = 1024;
const RESERVED = 256;

/** The beginning of a text, in whole characters and at most so many bytes, without the word that the cut runs through. */
function cut(text: string, bytes: number): string {
  const kept = Buffer.from(text.slice(0, bytes)).subarray(0, bytes);
  const decoded = kept.toString('utf8').replace(/\ufffd+$/, '');
  return decoded.replace(/[a-z0-9+*-]{1,64}$/i, '') + MARK;
}

function shorten(value: unknown): unknown {
  if (typeof value === 'string') return value.length > LONGEST_VALUE ? cut(value, LONGEST_VALUE) : value;
  if (typeof value !== 'object' || value === null) return value;
  try {
    const json = JSON.stringify(value);
    return json.length > LONGEST_VALUE ? cut(json, LONGEST_VALUE) : value;
  } catch {
    return MARK; // Nested too deep to be written.
  }
}

/** Keeps a log line a JSON object that can be searched by its fields: long values are cut, the last ones left out. */
function shortenObject(line: string): string {
  const fields = JSON.parse(line) as Record<string, unknown>;
  const kept: Record<string, unknown> = {};
  let bytes = RESERVED;
  for (const [name, value] of Object.entries(fields)) {
    const short = shorten(value);
    const size = Buffer.byteLength(JSON.stringify([name, short]));
    if (bytes + size > MAX_LINE_BYTES) continue;
    bytes += size;
    kept[name] = short;
  }
  kept['truncated'] = true;
  return JSON.stringify(kept);
}

/**
 * Cuts a redacted line down to 16 KB. It must not be called before redaction: the front of a number that was cut in two
 * is no longer recognised.
 */
export function truncateLine(line: string, isJson: boolean): string {
  if (line.length * 3 <= MAX_LINE_BYTES || Buffer.byteLength(line) <= MAX_LINE_BYTES + 1) return line;
  const ending = /\r?\n?$/.exec(line)?.[0] ?? '';
  const content = line.slice(0, line.length - ending.length);
  if (Buffer.byteLength(content) <= MAX_LINE_BYTES) return line;
  const isObject = isJson && content.trimStart().startsWith('{');
  return (isObject ? shortenObject(content) : cut(content, MAX_LINE_BYTES - MARK.length - 2)) + ending;
}

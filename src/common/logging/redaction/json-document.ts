import { classifyChild, type KeyClass } from './key-classes.js';

/** What to write instead of the parts of a JSON document; undefined leaves a part as it stands. */
export interface JsonRewriter {
  key(name: string, parent: KeyClass): string | undefined;
  text(value: string, keyClass: KeyClass): string | undefined;
  number(literal: string, keyClass: KeyClass): string | undefined;
  /** Asked before an object or array is entered; a string is written in its place. */
  container(keyClass: KeyClass): string | undefined;
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const PLAUSIBLE_START = /^\s*(?:\{\s*["}]|\[\s*["{[\]\d\-tfn])/;

/** Whether a text is worth trying to read as a JSON object or array. */
export function looksLikeJson(text: string): boolean {
  const first = text.charCodeAt(0);
  return (first === 0x7b || first === 0x5b || first <= 0x20) && PLAUSIBLE_START.test(text.slice(0, 64));
}

/**
 * Rewrites a JSON document part by part and leaves everything else byte for byte: white space, the order of keys, keys
 * that occur twice, numbers too long for a double. Undefined if the text is not valid JSON.
 */
export function rewriteJson(text: string, rewriter: JsonRewriter): string | undefined {
  try {
    JSON.parse(text);
  } catch {
    return undefined;
  }
  return new JsonRewrite(text, rewriter).run();
}

/** Walks a document that is known to be valid, so that each character says what comes next. */
class JsonRewrite {
  private out = '';
  private copied = 0;
  private at = 0;
  /** The class of each open container's name, and whether it is an object. */
  private readonly classes: KeyClass[] = [];
  private readonly objects: boolean[] = [];
  private awaitsKey = false;
  private valueClass: KeyClass = 'plain';

  constructor(
    private readonly text: string,
    private readonly rewriter: JsonRewriter,
  ) {}

  run(): string {
    const { text } = this;
    while (this.at < text.length) this.step(text.charCodeAt(this.at));
    return this.copied === 0 ? text : this.out + text.slice(this.copied);
  }

  private step(code: number): void {
    if (code === QUOTE) this.string();
    else if (code === 0x7b || code === 0x5b) this.open(code === 0x7b);
    else if (code === 0x7d || code === 0x5d) this.close();
    else if (code === 0x2c) this.comma();
    else if (code === 0x2d || (code >= 0x30 && code <= 0x39)) this.number();
    else this.at++;
  }

  private replace(start: number, end: number, json: string): void {
    this.out += this.text.slice(this.copied, start) + json;
    this.copied = end;
  }

  private string(): void {
    const { text, at: start } = this;
    const end = stringEnd(text, start);
    this.at = end;
    const raw = text.slice(start + 1, end - 1);
    const value = raw.includes('\\') ? (JSON.parse(text.slice(start, end)) as string) : raw;
    const parent = this.classes.at(-1) ?? 'plain';
    let rewritten: string | undefined;
    if (this.awaitsKey) {
      rewritten = this.rewriter.key(value, parent);
      this.valueClass = classifyChild(value, parent);
      this.awaitsKey = false;
    } else {
      rewritten = this.rewriter.text(value, this.valueClass);
    }
    if (rewritten !== undefined) this.replace(start, end, JSON.stringify(rewritten));
  }

  private number(): void {
    const { text, at: start } = this;
    let end = start + 1;
    for (; end < text.length; end++) {
      const code = text.charCodeAt(end);
      if (code === 0x2c || code === 0x7d || code === 0x5d || code <= 0x20) break;
    }
    this.at = end;
    if (this.valueClass === 'plain' || this.valueClass === 'id' || this.valueClass === 'money') return;
    const rewritten = this.rewriter.number(text.slice(start, end), this.valueClass);
    if (rewritten !== undefined) this.replace(start, end, JSON.stringify(rewritten));
  }

  private open(isObject: boolean): void {
    const instead = this.rewriter.container(this.valueClass);
    if (instead !== undefined) {
      const end = this.containerEnd();
      this.replace(this.at, end, JSON.stringify(instead));
      this.at = end;
      return;
    }
    this.classes.push(this.valueClass);
    this.objects.push(isObject);
    this.awaitsKey = isObject;
    this.at++;
  }

  private containerEnd(): number {
    const { text } = this;
    let depth = 0;
    let at = this.at;
    do {
      const code = text.charCodeAt(at);
      if (code === QUOTE) {
        at = stringEnd(text, at);
        continue;
      }
      if (code === 0x7b || code === 0x5b) depth++;
      else if (code === 0x7d || code === 0x5d) depth--;
      at++;
    } while (depth > 0);
    return at;
  }

  private close(): void {
    this.valueClass = this.classes.pop() ?? 'plain';
    this.objects.pop();
    this.awaitsKey = false;
    this.at++;
  }

  private comma(): void {
    this.awaitsKey = this.objects.at(-1) ?? false;
    if (!this.awaitsKey) this.valueClass = this.classes.at(-1) ?? 'plain';
    this.at++;
  }
}

/** The index after the closing quotation mark of the string that opens at `start`. */
function stringEnd(text: string, start: number): number {
  let end = text.indexOf('"', start + 1);
  while (text.charCodeAt(end - 1) === BACKSLASH) {
    let slashes = 1;
    while (text.charCodeAt(end - 1 - slashes) === BACKSLASH) slashes++;
    if (slashes % 2 === 0) break;
    end = text.indexOf('"', end + 1);
  }
  return end + 1;
}

import type { Span } from './folded-text.js';
import { classifyKey, type KeyClass } from './key-classes.js';

/** The mask of a credential, which shows nothing of it. */
export const SECRET_MASK = '***';

/** A stretch of text that is a credential, or what somebody wrote, to be replaced. */
export interface SecretSpan extends Span {
  readonly kind: 'secret' | 'body';
}

/** The mask of what somebody wrote: its length in characters, as people count them. */
export function maskBody(body: string): string {
  let length = 0;
  for (let at = 0; at < body.length; at++) if ((body.charCodeAt(at) & 0xfc00) !== 0xdc00) length++;
  return `[${length} chars]`;
}

export const BODY_MASK = /^\[\d+ chars\]$/;

/** Words that a credential's name contains, and the beginnings of credentials that are recognised by themselves. */
const SIGNAL =
  /pass(?:word|wd|phrase|code)|pwd|secret|token|auth|cookie|signature|credential|api[-_]?key|private[-_]?key|access[-_]?key|signing[-_]?key|encryption[-_]?key|bearer|jwt|body["'\\]|["'](?:text|content)["'\\]|transcript|utterance|:\/\/|eyJ|\b(?:[sr]k_(?:live|test)|whsec|gh[pousr]|xox[abprs])[_-]|\bAKIA|BEGIN [A-Z ]{0,24}PRIVATE KEY|[?&]/gi;
const IDENTIFIER = /[\w.-]/;
const VALUE_END = /[\s"'\\,;&<>(){}[\]|]/;
const SCHEME = /^(?:bearer|basic|token|digest)(?: |%20|\+)+/i;
const OPAQUE_TOKEN = /[A-Za-z0-9._~+/=-]{8,}/y;
const JSON_WEB_TOKEN = /eyJ[\w-]{4,}\.[\w-]{4,}(?:\.[\w-]*)*/y;
const NOT_A_VALUE = /^(?:\*+|null|undefined|true|false|none|\[[a-z ]+\])$/i;
const QUERY_SECRETS = new Set(['code', 'sig', 'key', 'hmac', 'credential', 'x-amz-credential']);
const WRITTEN_BODY_MASK = /\[\d+ chars\]/y;
const NEXT_PARAMETER = /,\w{1,16}=/y;
const LONGEST_NAME = 64;

function matchesAt(pattern: RegExp, text: string, at: number): boolean {
  pattern.lastIndex = at;
  return pattern.test(text);
}

/** Finds credentials and quoted message bodies in one pass over a text. */
class CredentialScan {
  private readonly spans: SecretSpan[] = [];
  private done = 0;

  constructor(private readonly text: string) {}

  run(): readonly SecretSpan[] {
    SIGNAL.lastIndex = 0;
    for (;;) {
      const match = SIGNAL.exec(this.text);
      if (!match) return this.spans;
      const end = SIGNAL.lastIndex;
      this.visit(match.index, end, match[0]);
      SIGNAL.lastIndex = Math.max(end, this.done);
    }
  }

  private visit(start: number, end: number, signal: string): void {
    if (signal === '://') this.userInfo(end);
    else if (signal === '?' || signal === '&') this.queryPair(end);
    else if (/^eyj/i.test(signal)) this.webToken(start);
    else if (/^(?:[sr]k_|whsec|gh|xox|akia)/i.test(signal)) this.known(start, end);
    else if (signal.startsWith('BEGIN')) this.privateKey(end);
    else this.named(start, end, signal);
  }

  private push(start: number, end: number, kind: 'secret' | 'body' = 'secret', mask = SECRET_MASK): void {
    if (start < this.done || end <= start || this.text.slice(start, end) === mask) return;
    this.spans.push({ start, end, kind, mask });
    this.done = end;
  }

  /** `postgres://app:password@host`: all of it may be a credential, the name as well. */
  private userInfo(from: number): void {
    const { text } = this;
    let end = from;
    let at = -1;
    let colon = -1;
    if (text[from] === '[') return;
    for (; end < text.length && end - from < 1024; end++) {
      const char = text[end] ?? '';
      if (/[\s"'<>?#]/.test(char) || text.startsWith('://', end)) break;
      if (char === '/' && (colon < 0 || at >= 0 || /^\d{1,5}$/.test(text.slice(colon + 1, end)))) break;
      if (char === ':' && colon < 0) colon = end;
      if (char === '@') at = end;
    }
    if (at < 0 || text.slice(from, at) === 'git') return;
    const hasPassword = colon >= 0 && colon < at;
    this.push(from, at, 'secret', hasPassword ? `${SECRET_MASK}:${SECRET_MASK}` : SECRET_MASK);
  }

  /** `&access_token=…` and, in a GET webhook, `&Body=…`. */
  private queryPair(from: number): void {
    const { text } = this;
    let equals = from;
    while (equals - from <= LONGEST_NAME && IDENTIFIER.test(text[equals] ?? ' ')) equals++;
    if (text[equals] !== '=' || equals === from) return;
    const name = text.slice(from, equals);
    const keyClass = classifyKey(name);
    const bareSecret = QUERY_SECRETS.has(name.toLowerCase());
    if (keyClass !== 'secret' && keyClass !== 'body' && !bareSecret) return;
    if (matchesAt(WRITTEN_BODY_MASK, text, equals + 1)) return;
    let end = equals + 1;
    while (end < text.length && !/[\s"'<>&#\\]/.test(text[end] ?? '')) end++;
    const value = text.slice(equals + 1, end);
    if (bareSecret && keyClass !== 'secret' && value.length < 16) return;
    this.mask(keyClass === 'body' ? 'body' : 'secret', equals + 1, end);
  }

  private mask(kind: 'secret' | 'body', start: number, end: number): void {
    const value = this.text.slice(start, end);
    if (kind === 'secret') this.push(start, end);
    else if (!BODY_MASK.test(value)) this.push(start, end, 'body', maskBody(value));
    this.done = Math.max(this.done, end);
  }

  private webToken(start: number): void {
    if (start > 0 && /[\w-]/.test(this.text[start - 1] ?? '')) return;
    JSON_WEB_TOKEN.lastIndex = start;
    if (JSON_WEB_TOKEN.test(this.text)) this.push(start, JSON_WEB_TOKEN.lastIndex);
  }

  private known(start: number, from: number): void {
    let end = from;
    while (IDENTIFIER.test(this.text[end] ?? ' ')) end++;
    if (end - from >= 12) this.push(start, end);
  }

  private privateKey(from: number): void {
    const close = this.text.indexOf('-----END', from);
    const start = this.text.startsWith('-----', from) ? from + 5 : from;
    this.push(start, close < 0 ? this.text.length : close);
  }

  /** `password=…`, `"authToken": "…"`, `X-Twilio-Signature: …`, `Bearer …`. */
  private named(start: number, end: number, signal: string): void {
    const { text } = this;
    if (/^bearer$/i.test(signal) && this.bearer(end)) return;
    let first = start;
    while (first > this.done && start - first < LONGEST_NAME && IDENTIFIER.test(text[first - 1] ?? ' ')) first--;
    if (/["']/.test(text[first] ?? '')) first++;
    let last = end;
    while (last - end < LONGEST_NAME && IDENTIFIER.test(text[last] ?? ' ')) last++;
    const name = text.slice(first, last).replace(/["'\\]+$/, '');
    if (!/[\s"'\\:=]/.test(text[first + name.length] ?? 'x')) return;
    const keyClass = classifyKey(name);
    if (keyClass !== 'secret' && keyClass !== 'body') return;
    const relation = /^(["'\\]{0,8}) {0,4}(=>|[:=]) {0,4}(\\{0,4}["'])?/.exec(
      text.slice(first + name.length, last + 40),
    );
    if (!relation) return;
    const from = first + name.length + relation[0].length;
    this.value(name, keyClass, from, relation[2] ?? '', relation[3] ?? '');
  }

  private value(name: string, keyClass: KeyClass, from: number, sign: string, quote: string): void {
    const { text } = this;
    let end = from;
    if (quote !== '') {
      end = text.indexOf(quote, from);
      while (end > from && text[end - 1] === '\\') end = text.indexOf(quote, end + 1);
      if (end < 0) end = text.length;
      this.mask(keyClass === 'body' ? 'body' : 'secret', from, end);
      return;
    }
    if (keyClass === 'body') return;
    if (/cookie$/i.test(name)) {
      while (end < text.length && !/[\r\n"'\\]/.test(text[end] ?? '')) end++;
      this.push(from, end);
      return;
    }
    const scheme = SCHEME.exec(text.slice(from, from + 16))?.[0] ?? '';
    end += scheme.length;
    const credentials = end;
    // `t=1492774577,v1=5257a869…` is one signature.
    const isSignature = /signature$/i.test(name);
    while (end < text.length && !VALUE_END.test(text[end] ?? '')) {
      end++;
      if (isSignature && matchesAt(NEXT_PARAMETER, text, end)) end = NEXT_PARAMETER.lastIndex;
    }
    const value = text.slice(credentials, end);
    if (value === '' || NOT_A_VALUE.test(value)) return;
    // In prose, as in `invalid token: expired`, what follows the colon is a word.
    const isProse = sign === ':' && scheme === '' && /^(?:[a-z]+\.?|\d{1,4})$/i.test(value) && !/^pass|pwd/i.test(name);
    if (isProse && value.length < 20) return;
    this.push(scheme === '' ? from : credentials, end);
  }

  private bearer(end: number): boolean {
    const { text } = this;
    const gap = /^(?: |%20|\+)+/.exec(text.slice(end, end + 8))?.[0].length ?? 0;
    if (gap === 0) return false;
    OPAQUE_TOKEN.lastIndex = end + gap;
    if (!OPAQUE_TOKEN.test(text)) return false;
    const stop = OPAQUE_TOKEN.lastIndex;
    if (!/[\d._]/.test(text.slice(end + gap, stop).replace(/\.$/, ''))) return false;
    this.push(end + gap, stop);
    return true;
  }
}

/** The credentials and quoted message bodies of a text, in ascending order; linear in its length. */
export function findCredentials(text: string): readonly SecretSpan[] {
  return new CredentialScan(text).run();
}

import { classifyChild, classifyKey, type KeyClass } from './key-classes.js';

/** How the parts of a value are written; undefined leaves a number, or the inside of a container, as it is. */
export interface ValueWriter {
  key(name: string, parent: KeyClass): string;
  text(value: string, keyClass: KeyClass): string;
  number(literal: string, keyClass: KeyClass): string | undefined;
  container(keyClass: KeyClass): string | undefined;
}

const MAX_DEPTH = 16;
const MAX_ENTRIES = 512;
const MAX_NODES = 8192;
const CIRCULAR = '[circular]';
const TOO_DEEP = '[too deep]';
const TOO_MANY = '[truncated]';

/** Copies a value for logging, written by `writer`. Never throws for what a getter or `toJSON` of the value throws. */
export function walkValue(value: unknown, key: string | undefined, writer: ValueWriter): unknown {
  return new ValueWalk(writer).visit(value, key === undefined ? 'plain' : classifyKey(key), 0);
}

class ValueWalk {
  private readonly open = new Set<object>();
  private nodes = 0;

  constructor(private readonly writer: ValueWriter) {}

  visit(value: unknown, keyClass: KeyClass, depth: number): unknown {
    if (++this.nodes > MAX_NODES) return TOO_MANY;
    switch (typeof value) {
      case 'string':
        return this.writer.text(value, keyClass);
      case 'number':
      case 'bigint':
        return this.writer.number(String(value), keyClass) ?? value;
      case 'object':
        return value === null ? null : this.visitObject(value, keyClass, depth);
      default:
        return value;
    }
  }

  private visitObject(value: object, keyClass: KeyClass, depth: number): unknown {
    if (value instanceof Date) return value;
    if (value instanceof URL || value instanceof URLSearchParams) return this.writer.text(String(value), keyClass);
    if (ArrayBuffer.isView(value) || value instanceof ArrayBuffer) return `[${value.byteLength} bytes]`;
    const instead = this.writer.container(keyClass);
    if (instead !== undefined) return instead;
    if (this.open.has(value)) return CIRCULAR;
    if (depth >= MAX_DEPTH) return TOO_DEEP;
    this.open.add(value);
    try {
      return this.visitContainer(value, keyClass, depth + 1);
    } finally {
      this.open.delete(value);
    }
  }

  private visitContainer(value: object, keyClass: KeyClass, depth: number): unknown {
    if (Array.isArray(value)) return this.visitItems(value, value.length, keyClass, depth);
    if (value instanceof Set) return this.visitItems(value, value.size, keyClass, depth);
    if (value instanceof Map || value instanceof Headers) return this.visitEntries(value.entries(), keyClass, depth);
    if (value instanceof Error) return this.visitEntries(errorEntries(value), keyClass, depth);
    const json = serialised(value);
    return json === value ? this.visitEntries(ownEntries(value), keyClass, depth) : this.visit(json, keyClass, depth);
  }

  private visitItems(items: Iterable<unknown>, size: number, keyClass: KeyClass, depth: number): unknown[] {
    const out: unknown[] = [];
    for (const item of items) {
      if (out.length === MAX_ENTRIES) {
        out.push(`[${size - MAX_ENTRIES} more]`);
        break;
      }
      out.push(this.visit(item, keyClass, depth));
    }
    return out;
  }

  private visitEntries(entries: Iterable<[unknown, unknown]>, parent: KeyClass, depth: number): object {
    const out: Record<string, unknown> = {};
    let count = 0;
    for (const [key, value] of entries) {
      if (++count > MAX_ENTRIES) {
        define(out, TOO_MANY, true);
        break;
      }
      const name = String(key);
      define(out, freeName(out, this.writer.key(name, parent)), this.visit(value, classifyChild(name, parent), depth));
    }
    return out;
  }
}

/** Two numbers that end in the same four digits keep their own entries: `***0132`, `***0132 (2)`. */
function freeName(out: object, name: string): string {
  if (!Object.hasOwn(out, name)) return name;
  let copy = 2;
  while (Object.hasOwn(out, `${name} (${copy})`)) copy++;
  return `${name} (${copy})`;
}

/** Sets a field even if it is called `__proto__`. */
function define(out: object, name: string, value: unknown): void {
  Object.defineProperty(out, name, { value, enumerable: true, configurable: true, writable: true });
}

function* errorEntries(error: Error): Iterable<[unknown, unknown]> {
  yield ['type', error.name];
  yield ['message', error.message];
  if (error.stack !== undefined) yield ['stack', error.stack];
  if (error.cause !== undefined) yield ['cause', error.cause];
  if (error instanceof AggregateError) yield ['errors', error.errors];
  for (const entry of ownEntries(error)) {
    if (!['name', 'message', 'stack', 'cause', 'errors'].includes(String(entry[0]))) yield entry;
  }
}

function* ownEntries(value: object): Iterable<[string, unknown]> {
  for (const name of Object.keys(value)) {
    try {
      yield [name, (value as Record<string, unknown>)[name]];
    } catch {
      yield [name, '[unreadable]'];
    }
  }
}

function serialised(value: object): unknown {
  if (!('toJSON' in value) || typeof value.toJSON !== 'function') return value;
  try {
    return value.toJSON();
  } catch {
    return '[unreadable]';
  }
}

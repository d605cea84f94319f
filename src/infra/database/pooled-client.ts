import type { Attributes, Span } from '@opentelemetry/api';
import pg from 'pg';
import { endStep, isTraced, startStep } from '../../common/tracing/spans.js';

type SelfContained = { text: string; submit: unknown; callback: unknown };
type Callback = (error: unknown, result?: unknown) => void;

/**
 * The pools' client: every statement within a trace is a span of it, named by what it does; polling and housekeeping
 * have no story to belong to and no span.
 */
export class PooledClient extends pg.Client {
  constructor(settings?: string | pg.ClientConfig) {
    super(settings);
    // Survives being ended between the pool's handing it out and its user's coming to it, which happens when the server
    // says "ready" and "goodbye" in one breath. An `error` that nobody listens to ends the process; the user's query
    // fails anyway.
    this.on('error', () => {});
  }

  override query(...args: unknown[]): never {
    const send = super.query as (...args: unknown[]) => never;
    const span = isTraced() ? statementSpan(args[0]) : undefined;
    if (!span) return send.apply(this, args);
    const at = args.findIndex((arg) => typeof arg === 'function');
    if (at >= 0) {
      const callback = args[at] as Callback;
      args[at] = (error: unknown, result: unknown) => {
        endStep(span, error);
        callback(error, result);
      };
      return send.apply(this, args);
    }
    const answer = send.apply(this, args) as Promise<unknown>;
    answer.then(
      () => endStep(span),
      (error: unknown) => endStep(span, error),
    );
    return answer as never;
  }
}

/** None for what tells nobody here of its end: a query that submits itself, or has its callback within. */
function statementSpan(query: unknown): Span | undefined {
  const { text, submit, callback } = typeof query === 'string' ? { text: query } : (query as Partial<SelfContained>);
  if (text === undefined || submit || callback) return undefined;
  const { name, attributes } = described(text);
  return startStep(name, attributes);
}

const MAX_DESCRIBED = 1_000;
const descriptions = new Map<string, { name: string; attributes: Attributes }>();

/** Once for each text: the library writes the same ones anew every time, and waiting spans would keep them all. */
function described(text: string): { name: string; attributes: Attributes } {
  const known = descriptions.get(text);
  if (known) return known;
  const operation = /\w+/.exec(text)?.[0].toUpperCase() ?? 'EMPTY';
  const attributes = { 'db.system.name': 'postgresql', 'db.operation.name': operation, 'db.query.text': text };
  const description = { name: `pg.query:${operation}`, attributes };
  if (descriptions.size < MAX_DESCRIBED) descriptions.set(text, description);
  return description;
}

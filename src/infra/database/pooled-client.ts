import type { Span } from '@opentelemetry/api';
import pg from 'pg';
import { endStep, isTraced, startStep } from '../../common/tracing/spans.js';

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

  // As the driver's own: with a promise, with a callback in any place, or with a query object that submits itself.
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

function statementSpan(query: unknown): Span | undefined {
  const text = typeof query === 'string' ? query : (query as { text?: string } | undefined)?.text;
  if (text === undefined) return undefined;
  const operation = /\w+/.exec(text)?.[0].toUpperCase() ?? 'EMPTY';
  return startStep(`pg.query:${operation}`, {
    'db.system.name': 'postgresql',
    'db.operation.name': operation,
    'db.query.text': text,
  });
}

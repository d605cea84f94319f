import type { Attributes, Span } from '@opentelemetry/api';
import pg from 'pg';
import { endStep, isTraced, startStep } from '../../common/tracing/spans.js';

type SelfContained = { text: string; submit: unknown; callback: unknown };
type Callback = (error: unknown, result?: unknown) => void;

/**
 * The pools' client: every statement within a trace is a span of it, named by what it does; polling and housekeeping
 * have no story to belong to and no span. The settings' `query_timeout` (milliseconds) is kept here, for all statements but
 * those that submit themselves: the driver's own closures for it tie each statement to the ones before, so that minor
 * collections copy all of them (twenty times as long each under load).
 */
export class PooledClient extends pg.Client {
  private readonly answerWithinMs: number | undefined;

  constructor(settings?: string | pg.ClientConfig) {
    super(settings);
    // The settings as the driver has read them. A copy without it would lack the password, which pools hide.
    const { connectionParameters } = this as unknown as { connectionParameters: { query_timeout: number | false } };
    this.answerWithinMs = connectionParameters.query_timeout || undefined;
    connectionParameters.query_timeout = false;
    // Survives being ended between the pool's handing it out and its user's coming to it, which happens when the server
    // says "ready" and "goodbye" in one breath. An `error` that nobody listens to ends the process; the user's query
    // fails anyway.
    this.on('error', () => {});
  }

  override query(...args: unknown[]): never {
    const send = super.query as (...args: unknown[]) => never;
    if (tellsNobody(args[0])) return send.apply(this, args);
    const span = isTraced() ? startStep(...described(args[0])) : undefined;
    const deadline = this.answerWithinMs === undefined ? undefined : setTimeout(giveUp, this.answerWithinMs, this);
    const at = args.findIndex((arg) => typeof arg === 'function');
    if (at >= 0) {
      args[at] = concluding(args[at] as Callback, span, deadline);
      return send.apply(this, args);
    }
    const answer = send.apply(this, args) as Promise<unknown>;
    const conclude = concluding(() => {}, span, deadline);
    answer.then(() => conclude(undefined), conclude);
    return answer as never;
  }
}

/** A server that says nothing more will not answer what waits behind this statement either. */
function giveUp(client: pg.Client): void {
  client.connection.stream.destroy(new Error('Query read timeout'));
}

/** A function of its own: its closure must hold nothing of the statement. */
function concluding(callback: Callback, span: Span | undefined, deadline: NodeJS.Timeout | undefined): Callback {
  return (error, result) => {
    clearTimeout(deadline);
    if (span) endStep(span, error);
    callback(error, result);
  };
}

/** A query that submits itself, or has its callback within. */
function tellsNobody(query: unknown): boolean {
  if (typeof query === 'string') return false;
  const { text, submit, callback } = query as Partial<SelfContained>;
  return text === undefined || Boolean(submit || callback);
}

const MAX_DESCRIBED = 1_000;
const descriptions = new Map<string, [name: string, attributes: Attributes]>();

/** Once for each text: the library writes the same ones anew every time, and waiting spans would keep them all. */
function described(query: unknown): [name: string, attributes: Attributes] {
  const text = typeof query === 'string' ? query : (query as SelfContained).text;
  const known = descriptions.get(text);
  if (known) return known;
  const operation = /\w+/.exec(text)?.[0].toUpperCase() ?? 'EMPTY';
  const attributes = { 'db.system.name': 'postgresql', 'db.operation.name': operation, 'db.query.text': text };
  const description: [string, Attributes] = [`pg.query:${operation}`, attributes];
  if (descriptions.size < MAX_DESCRIBED) descriptions.set(text, description);
  return description;
}

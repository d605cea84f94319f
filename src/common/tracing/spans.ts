import {
  type Attributes,
  context,
  defaultTextMapGetter,
  defaultTextMapSetter,
  ROOT_CONTEXT,
  type Span,
  SpanKind,
  SpanStatusCode,
  trace,
} from '@opentelemetry/api';
import { suppressTracing, W3CTraceContextPropagator } from '@opentelemetry/core';
import { errorCode } from '../errors/app-error.js';

const tracer = trace.getTracer('nevermisscall');
/** Our own: the global one is off, so that a stranger's header neither joins a trace nor decides what is sampled. */
const traceContext = new W3CTraceContextPropagator();

export interface SpanOptions {
  kind?: SpanKind;
  attributes?: Attributes;
  /** W3C traceparent of the span that caused this work in another process or at another time. */
  parent?: string;
}

export interface RunningTrace {
  span: Span;
  run<T>(work: () => T): T;
}

/**
 * Runs `work` in a span. As every span, it carries the correlation and tenant of the current unit of work.
 * A failure marks the span with the error's code, never with its message.
 */
export function inSpan<T>(name: string, options: SpanOptions, work: () => Promise<T> | T): Promise<T> {
  const parent = options.parent
    ? traceContext.extract(ROOT_CONTEXT, { traceparent: options.parent }, defaultTextMapGetter)
    : context.active();
  const span = tracer.startSpan(name, options, parent);
  // Tracing is off: nothing to carry along or to end.
  if (!span.isRecording()) return settledAs(work);
  return context.with(trace.setSpan(parent, span), async () => {
    try {
      return await work();
    } catch (error) {
      fail(span, errorCode(error));
      throw error;
    } finally {
      span.end();
    }
  });
}

function settledAs<T>(work: () => Promise<T> | T): Promise<T> {
  try {
    return Promise.resolve(work());
  } catch (error) {
    return Promise.reject(error);
  }
}

/** A trace that begins here, whoever is waiting for it; undefined where nothing is recorded. Its owner ends the span. */
export function beginTrace(name: string, kind: SpanKind): RunningTrace | undefined {
  const span = tracer.startSpan(name, { kind }, ROOT_CONTEXT);
  if (!span.isRecording()) return undefined;
  const within = trace.setSpan(ROOT_CONTEXT, span);
  return { span, run: (work) => context.with(within, work) };
}

/** Whether a span is running: what is asked for outside of one has no story to belong to. */
export function isTraced(): boolean {
  return trace.getActiveSpan()?.isRecording() ?? false;
}

/** What a log line says of the running span. */
export function traceFields(): { trace_id: string; span_id: string } | undefined {
  const span = trace.getActiveSpan();
  if (!span) return undefined;
  const { traceId, spanId } = span.spanContext();
  return { trace_id: traceId, span_id: spanId };
}

/** A step without steps of its own, to be ended by its caller. */
export function startStep(name: string, attributes: Attributes): Span {
  return tracer.startSpan(name, { kind: SpanKind.CLIENT, attributes });
}

/** Ends a step, as failed if there is an error: with its code, never with its message. */
export function endStep(span: Span, error?: unknown): void {
  if (error) fail(span, errorCode(error));
  span.end();
}

/** Runs housekeeping outside of any trace, whosever request happened to start it. */
export function withoutTrace<T>(work: () => T): T {
  return context.with(suppressTracing(ROOT_CONTEXT), work);
}

/** Adds to the running span what became known on the way. */
export function describeSpan(attributes: Attributes): void {
  trace.getActiveSpan()?.setAttributes(attributes);
}

/** Marks the running span as failed although nothing is thrown. */
export function failSpan(code: string): void {
  const span = trace.getActiveSpan();
  if (span) fail(span, code);
}

/** The running span as a W3C traceparent, to be stored with an outbox row. */
export function currentTraceparent(): string | undefined {
  const carrier: { traceparent?: string } = {};
  traceContext.inject(context.active(), carrier, defaultTextMapSetter);
  return carrier.traceparent;
}

function fail(span: Span, code: string): void {
  span.setStatus({ code: SpanStatusCode.ERROR, message: code });
  span.setAttribute('error.type', code);
}

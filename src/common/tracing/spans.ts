import {
  type Attributes,
  context,
  defaultTextMapGetter,
  defaultTextMapSetter,
  ROOT_CONTEXT,
  SpanKind,
  SpanStatusCode,
  trace,
} from '@opentelemetry/api';
import { suppressTracing, W3CTraceContextPropagator } from '@opentelemetry/core';
import { currentContext } from '../context/context.js';
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

/**
 * Runs `work` in a span that carries the correlation and tenant of the current unit of work.
 * A failure marks the span with the error's code, never with its message.
 */
export async function inSpan<T>(name: string, options: SpanOptions, work: () => Promise<T> | T): Promise<T> {
  const parent = options.parent
    ? traceContext.extract(ROOT_CONTEXT, { traceparent: options.parent }, defaultTextMapGetter)
    : context.active();
  const span = tracer.startSpan(name, { kind: options.kind ?? SpanKind.INTERNAL }, parent);
  // Tracing is off: nothing to describe, to carry along or to end.
  if (!span.isRecording()) return await work();
  span.setAttributes({ ...ours(), ...options.attributes });
  return await context.with(trace.setSpan(parent, span), async () => {
    try {
      return await work();
    } catch (error) {
      span.setStatus({ code: SpanStatusCode.ERROR, message: errorCode(error) });
      span.setAttribute('error.type', errorCode(error));
      throw error;
    } finally {
      // The tenant is often resolved on the way.
      span.setAttributes(ours());
      span.end();
    }
  });
}

/** Runs housekeeping outside of any trace, whosever request happened to start it. */
export function withoutTrace<T>(work: () => T): T {
  return context.with(suppressTracing(ROOT_CONTEXT), work);
}

/** The running span as a W3C traceparent, to be stored with an outbox row. */
export function currentTraceparent(): string | undefined {
  const carrier: { traceparent?: string } = {};
  traceContext.inject(context.active(), carrier, defaultTextMapSetter);
  return carrier.traceparent;
}

function ours(): Attributes {
  const current = currentContext();
  if (!current) return {};
  return {
    correlation_id: current.correlationId,
    ...(current.tenantId && { tenant_id: current.tenantId }),
    ...(current.causationId && { causation_id: current.causationId }),
  };
}

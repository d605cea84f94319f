import {
  type Context,
  context,
  INVALID_SPAN_CONTEXT,
  isSpanContextValid,
  ROOT_CONTEXT,
  type Span,
  SpanKind,
  type SpanOptions,
  TraceFlags,
  type Tracer,
  type TracerProvider,
  trace,
} from '@opentelemetry/api';
import { type InstrumentationScope, isTracingSuppressed } from '@opentelemetry/core';
import { RandomIdGenerator, SamplingDecision, TraceIdRatioBasedSampler } from '@opentelemetry/sdk-trace';
import { currentContext } from '../context/context.js';
import { RecordedSpan } from './recorded-span.js';
import type { TraceKeeper } from './trace-keeper.js';

const ids = new RandomIdGenerator();

/** OpenTelemetry's API over our spans: everything is recorded, and the keeper decides what leaves. */
export class RecordingTracerProvider implements TracerProvider {
  private readonly sampler: TraceIdRatioBasedSampler;

  /** @param share of the traces that begin here to be sampled; the others follow what began them */
  constructor(
    private readonly keeper: TraceKeeper,
    share: number,
  ) {
    this.sampler = new TraceIdRatioBasedSampler(share);
  }

  getTracer(name: string, version?: string): Tracer {
    return new RecordingTracer(this.keeper, this.sampler, { name, version });
  }
}

class RecordingTracer implements Tracer {
  constructor(
    private readonly keeper: TraceKeeper,
    private readonly sampler: TraceIdRatioBasedSampler,
    private readonly scope: InstrumentationScope,
  ) {}

  startSpan(name: string, options: SpanOptions = {}, within: Context = context.active()): Span {
    if (isTracingSuppressed(within)) return trace.wrapSpanContext(INVALID_SPAN_CONTEXT);
    const parent = options.root ? undefined : trace.getSpan(within);
    const { kind = SpanKind.INTERNAL, attributes, startTime, links } = options;
    const beginning = { name, kind, attributes, startTime, scope: this.scope };
    const unit = currentContext();
    let span: RecordedSpan;
    if (parent instanceof RecordedSpan) span = new RecordedSpan(parent.trace, { ...beginning, parent }, unit);
    else {
      const remote = parent?.spanContext();
      const known = remote && isSpanContextValid(remote) ? remote : undefined;
      const traceId = known?.traceId ?? ids.generateTraceId();
      const isSampled = known ? (known.traceFlags & TraceFlags.SAMPLED) !== 0 : this.samples(traceId);
      span = new RecordedSpan(this.keeper.open(traceId, isSampled), { ...beginning, parent: known }, unit);
    }
    if (links) span.addLinks(links);
    return span;
  }

  startActiveSpan<F extends (span: Span) => unknown>(name: string, ...args: [...unknown[], F]): ReturnType<F> {
    const work = args.pop() as F;
    const [options, within = context.active()] = args as unknown[] as [SpanOptions?, Context?];
    const span = this.startSpan(name, options, within);
    return context.with(trace.setSpan(within, span), work as (span: Span) => ReturnType<F>, undefined, span);
  }

  private samples(traceId: string): boolean {
    return this.sampler.shouldSample(ROOT_CONTEXT, traceId).decision === SamplingDecision.RECORD_AND_SAMPLED;
  }
}

import { context, trace } from '@opentelemetry/api';
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks';
import { InMemorySpanExporter, type ReadableSpan, SimpleSpanProcessor } from '@opentelemetry/sdk-trace';
import { RecordingTracerProvider } from '../../src/common/tracing/recording-tracer.js';
import { TraceKeeper } from '../../src/common/tracing/trace-keeper.js';

const exporter = new InMemorySpanExporter();

/** Traces whatever this test file does from now on, as the preload would in a process. */
export function recordSpans(): void {
  context.setGlobalContextManager(new AsyncLocalStorageContextManager());
  const keeper = new TraceKeeper(new SimpleSpanProcessor({ exporter }));
  trace.setGlobalTracerProvider(new RecordingTracerProvider(keeper, 1));
}

/** The spans that ended since it was asked last, in the order of their ends. */
export function takeSpans(): ReadableSpan[] {
  const spans = [...exporter.getFinishedSpans()];
  exporter.reset();
  return spans;
}

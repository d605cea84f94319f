/**
 * OpenTelemetry, preloaded (`node --import ./dist/instrumentation.js`), so that it is there before anything is traced.
 * Configured by OpenTelemetry's own variables: `OTEL_EXPORTER_OTLP_ENDPOINT` (without it nothing is recorded or exported),
 * `OTEL_EXPORTER_OTLP_PROTOCOL` (`http/protobuf` or `http/json`), `OTEL_TRACES_SAMPLER_ARG` (share of traces; 0.1 in
 * production, else 1). Traces with a failure in them are exported whatever the share.
 */
import { context, trace } from '@opentelemetry/api';
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks';
import { OTLPTraceExporter as JsonExporter } from '@opentelemetry/exporter-trace-otlp-http';
import { OTLPTraceExporter as ProtobufExporter } from '@opentelemetry/exporter-trace-otlp-proto';
import { defaultResource, detectResources, envDetector, hostDetector, processDetector } from '@opentelemetry/resources';
import { BatchSpanProcessor } from '@opentelemetry/sdk-trace';
import { installTracing } from './common/tracing/kept-traces.js';
import { RecordingTracerProvider } from './common/tracing/recording-tracer.js';
import { RedactingExporter } from './common/tracing/redacting-exporter.js';
import { TraceKeeper } from './common/tracing/trace-keeper.js';

process.env['OTEL_SERVICE_NAME'] ??= 'nevermisscall';

if (process.env['OTEL_EXPORTER_OTLP_ENDPOINT']) {
  const share = Number(process.env['OTEL_TRACES_SAMPLER_ARG'] ?? (process.env['NODE_ENV'] === 'production' ? 0.1 : 1));
  const keeper = new TraceKeeper(processor());
  trace.setGlobalTracerProvider(new RecordingTracerProvider(keeper, share));
  // No propagator: a webhook's traceparent is a stranger's, and providers have no use for ours. The outbox carries its own.
  context.setGlobalContextManager(new AsyncLocalStorageContextManager());
  installTracing({ keeper, flush: () => keeper.shutdown().catch(() => undefined) });
}

function processor(): BatchSpanProcessor {
  const resource = defaultResource().merge(
    detectResources({ detectors: [envDetector, hostDetector, processDetector] }),
  );
  const json = process.env['OTEL_EXPORTER_OTLP_PROTOCOL'] === 'http/json';
  const exporter = new RedactingExporter(json ? new JsonExporter() : new ProtobufExporter(), resource);
  const delay = Number(process.env['OTEL_BSP_SCHEDULE_DELAY']);
  return new BatchSpanProcessor({ exporter, ...(delay > 0 && { scheduledDelayMillis: delay }) });
}

/**
 * OpenTelemetry, preloaded (`node --import ./dist/instrumentation.js`) so that it patches libraries before anybody
 * loads them: of ours it imports the tracing folder only. Configured by OpenTelemetry's own variables:
 * `OTEL_EXPORTER_OTLP_ENDPOINT` (without it nothing is recorded or exported), `OTEL_EXPORTER_OTLP_PROTOCOL`
 * (`http/protobuf` or `http/json`), `OTEL_TRACES_SAMPLER_ARG` (share of traces; 0.1 in production, else 1). Traces with
 * a failure in them are exported whatever the share.
 */
import { getNodeAutoInstrumentations } from '@opentelemetry/auto-instrumentations-node';
import { CompositePropagator } from '@opentelemetry/core';
import { OTLPTraceExporter as JsonExporter } from '@opentelemetry/exporter-trace-otlp-http';
import { OTLPTraceExporter as ProtobufExporter } from '@opentelemetry/exporter-trace-otlp-proto';
import { NodeSDK } from '@opentelemetry/sdk-node';
import {
  AlwaysOffSampler,
  BatchSpanProcessor,
  createAlwaysRecordSampler,
  ParentBasedSampler,
  TraceIdRatioBasedSampler,
} from '@opentelemetry/sdk-trace';
import { installTracing } from './common/tracing/kept-traces.js';
import { RedactingExporter } from './common/tracing/redacting-exporter.js';
import { TraceKeeper } from './common/tracing/trace-keeper.js';

const production = process.env['NODE_ENV'] === 'production';
process.env['OTEL_SERVICE_NAME'] ??= 'nevermisscall';
process.env['OTEL_METRICS_EXPORTER'] = 'none';
process.env['OTEL_LOGS_EXPORTER'] = 'none';
process.env['OTEL_SEMCONV_STABILITY_OPT_IN'] ??= 'http,database';

const keeper = process.env['OTEL_EXPORTER_OTLP_ENDPOINT'] ? exportTraces() : undefined;
const share = Number(process.env['OTEL_TRACES_SAMPLER_ARG'] ?? (production ? 0.1 : 1));

const sdk = new NodeSDK({
  // None: a webhook's traceparent is a stranger's, and providers have no use for ours. The outbox carries its own.
  textMapPropagator: new CompositePropagator(),
  sampler: keeper
    ? createAlwaysRecordSampler(new ParentBasedSampler({ root: new TraceIdRatioBasedSampler(share) }))
    : new AlwaysOffSampler(),
  spanProcessors: keeper ? [keeper] : [],
  instrumentations: [
    getNodeAutoInstrumentations({
      '@opentelemetry/instrumentation-fs': { enabled: false },
      '@opentelemetry/instrumentation-net': { enabled: false },
      '@opentelemetry/instrumentation-dns': { enabled: false },
      // Declares support for Nest below 12 only and would silently do nothing; our decorators make these spans.
      '@opentelemetry/instrumentation-nestjs-core': { enabled: false },
      // Polling queries have no story to belong to.
      '@opentelemetry/instrumentation-pg': { requireParentSpan: true },
      '@opentelemetry/instrumentation-pino': { disableLogSending: true },
      '@opentelemetry/instrumentation-http': {
        // Twilio's list of messages is asked for by number.
        redactedQueryParams: ['To', 'From'],
        ignoreIncomingRequestHook: ({ url }) => /^\/(health|metrics)([/?]|$)/.test(url ?? ''),
      },
    }),
  ],
});
sdk.start();
installTracing({ keeper, flush: () => sdk.shutdown().catch(() => undefined) });

function exportTraces(): TraceKeeper {
  const json = process.env['OTEL_EXPORTER_OTLP_PROTOCOL'] === 'http/json';
  const exporter = new RedactingExporter(json ? new JsonExporter() : new ProtobufExporter());
  const delay = Number(process.env['OTEL_BSP_SCHEDULE_DELAY']);
  return new TraceKeeper(new BatchSpanProcessor({ exporter, ...(delay > 0 && { scheduledDelayMillis: delay }) }));
}

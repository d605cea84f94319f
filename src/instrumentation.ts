/**
 * OpenTelemetry, preloaded (`node --import ./dist/instrumentation.js`) so that it patches libraries before anybody
 * loads them. Imports nothing of ours. Configured by OpenTelemetry's own variables; without
 * `OTEL_EXPORTER_OTLP_ENDPOINT` nothing is exported.
 */
import { getNodeAutoInstrumentations } from '@opentelemetry/auto-instrumentations-node';
import { CompositePropagator } from '@opentelemetry/core';
import { NodeSDK } from '@opentelemetry/sdk-node';

const production = process.env['NODE_ENV'] === 'production';
process.env['OTEL_SERVICE_NAME'] ??= 'nevermisscall';
process.env['OTEL_TRACES_SAMPLER'] ??= 'parentbased_traceidratio';
process.env['OTEL_TRACES_SAMPLER_ARG'] ??= production ? '0.1' : '1';
process.env['OTEL_TRACES_EXPORTER'] ??= process.env['OTEL_EXPORTER_OTLP_ENDPOINT'] ? 'otlp' : 'none';
process.env['OTEL_METRICS_EXPORTER'] = 'none';
process.env['OTEL_LOGS_EXPORTER'] = 'none';
process.env['OTEL_SEMCONV_STABILITY_OPT_IN'] ??= 'http,database';

const sdk = new NodeSDK({
  // None: a webhook's traceparent is a stranger's, and providers have no use for ours. The outbox carries its own.
  textMapPropagator: new CompositePropagator(),
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

// Flushes what is buffered; the application ends the process itself.
const flush = () => void sdk.shutdown().catch(() => {});
process.once('beforeExit', flush);
process.once('SIGTERM', flush);

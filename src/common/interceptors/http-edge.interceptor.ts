import { randomUUIDv7 } from 'node:crypto';
import type { ServerResponse } from 'node:http';
import { type Span, SpanKind, SpanStatusCode } from '@opentelemetry/api';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { type Context, currentContext, runInContext } from '../context/context.js';
import type { WebhookRoute } from '../decorators/webhook.decorator.js';
import type { AppLogger } from '../logging/logger.js';
import { HTTP_METHODS, type HttpStatusLabel, type RouteTemplate } from '../metrics/catalogue.js';
import { metrics } from '../metrics/metrics.js';
import { beginTrace, type RunningTrace } from '../tracing/spans.js';
import { measureBooking } from './booking-edge.js';

/** Routes that would drown the log and the histograms: probes and the scrape itself. */
const QUIET_ROUTES = /^\/(health|metrics)(\/|$)/;

interface Edge {
  context: Context;
  trace: RunningTrace | undefined;
  startedAt: number;
  receivedAt?: number;
  /** Facts for the access line: provider and event id of a webhook. */
  facts: Record<string, unknown>;
}

const edges = new WeakMap<FastifyRequest, Edge>();

/**
 * The HTTP edge, in Fastify hooks rather than in a Nest interceptor: an interceptor sees neither refused guards nor
 * unmatched routes nor unreadable bodies, and those must be counted, logged and correlated like any other answer.
 */
export function interceptHttpEdge(fastify: FastifyInstance, logger: AppLogger): void {
  fastify.addHook('onRequest', (request, reply, done) => {
    const context = { correlationId: randomUUIDv7(), module: moduleOf(request) };
    const trace = runInContext(context, () => serverTrace(request));
    const edge: Edge = { context, trace, startedAt: performance.now(), facts: {} };
    edges.set(request, edge);
    measureBooking(fastify, request, reply, edge);
    // Not with the answer: who asked may have gone before it.
    if (trace) reply.raw.once('close', () => endServerSpan(trace.span, reply.raw));
    enter(edge, done);
  });

  // Reading the body resumes in the socket's own async context; step back into the request's.
  fastify.addHook('preValidation', (request, _reply, done) => {
    const edge = edges.get(request);
    if (edge) edge.receivedAt = performance.now();
    if (edge && currentContext() !== edge.context) enter(edge, done);
    else done();
  });

  // Late, because a webhook may have turned out to continue an earlier journey.
  fastify.addHook('onSend', (request, reply, _payload, done) => {
    const edge = edges.get(request);
    if (edge) reply.header('x-correlation-id', edge.context.correlationId);
    done();
  });

  fastify.addHook('onResponse', (request, reply, done) => {
    const edge = edges.get(request);
    if (edge) enter(edge, () => record(request, reply, edge, logger));
    done();
  });
}

/** Milliseconds since the request was received; the share of a latency that the database's clock has not seen. */
export function elapsedMs(request: FastifyRequest): number {
  const edge = edges.get(request);
  return edge ? performance.now() - edge.startedAt : 0;
}

/** Adds facts to the access line of this request. */
export function describeRequest(request: FastifyRequest, facts: Record<string, unknown>): void {
  Object.assign(edges.get(request)?.facts ?? {}, facts);
}

function record(request: FastifyRequest, reply: FastifyReply, edge: Edge, logger: AppLogger): void {
  const latencyMs = performance.now() - edge.startedAt;
  const route = routeOf(request);
  const status = String(reply.statusCode) as HttpStatusLabel;
  const method = HTTP_METHODS.find((known) => known === request.method) ?? '_OTHER';
  const webhook = webhookOf(request);
  if (webhook) metrics.observe('webhook_handler_duration_ms', latencyMs, { ...webhook, status });
  if (QUIET_ROUTES.test(route)) return;
  metrics.observe('http_request_duration_ms', latencyMs, { route, method, status });
  const level = reply.statusCode >= 500 ? 'error' : reply.statusCode >= 400 ? 'warn' : 'info';
  logger[level](
    {
      method,
      route,
      status: reply.statusCode,
      latency_ms: Math.round(latencyMs * 10) / 10,
      // Refused before anything of it was believed, a webhook has no event.
      ...(webhook && { provider: webhook.provider, event_id: null }),
      ...edge.facts,
    },
    'request completed',
  );
}

function routeOf(request: FastifyRequest): RouteTemplate {
  return (request.is404 ? 'unmatched' : (request.routeOptions.url ?? 'unmatched')) as RouteTemplate;
}

function webhookOf(request: FastifyRequest): WebhookRoute | undefined {
  return (request.routeOptions.config as { webhook?: WebhookRoute } | undefined)?.webhook;
}

function moduleOf(request: FastifyRequest): Context['module'] {
  return webhookOf(request)?.provider === 'stripe' ? 'billing' : webhookOf(request) ? 'telephony' : 'infra';
}

function enter(edge: Edge, work: () => void): void {
  runInContext(edge.context, edge.trace ? () => edge.trace?.run(work) : work);
}

function serverTrace(request: FastifyRequest): RunningTrace | undefined {
  const route = routeOf(request);
  if (QUIET_ROUTES.test(route)) return undefined;
  const begun = beginTrace(`${request.method} ${route}`, SpanKind.SERVER);
  begun?.span.setAttributes({
    'http.request.method': request.method,
    'http.route': route,
    // Without the query, which may say whom it is about.
    'url.path': request.url.split('?', 1)[0],
    'url.scheme': request.protocol,
    'network.protocol.version': request.raw.httpVersion,
    'user_agent.original': request.headers['user-agent'],
  });
  return begun;
}

function endServerSpan(span: Span, { statusCode, writableFinished }: ServerResponse): void {
  if (writableFinished) span.setAttribute('http.response.status_code', statusCode);
  if (writableFinished && statusCode >= 500) {
    span.setStatus({ code: SpanStatusCode.ERROR });
    span.setAttribute('error.type', String(statusCode));
  }
  span.end();
}

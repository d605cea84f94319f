import http, { type ClientRequest, Agent as HttpAgent, type IncomingMessage, type RequestOptions } from 'node:http';
import https, { Agent as HttpsAgent } from 'node:https';
import type { Socket } from 'node:net';
import { Injectable, type OnApplicationShutdown } from '@nestjs/common';
import { SpanKind } from '@opentelemetry/api';
import axios, { type AxiosInstance, type AxiosResponse, isAxiosError } from 'axios';
import { PinoLogger } from 'nestjs-pino';
import { waitingForThirdParty } from '../../common/context/third-party-time.js';
import { Observed } from '../../common/decorators/observed.decorator.js';
import { currentProviderOperation } from '../../common/decorators/provider-call.decorator.js';
import type { ProviderStatus } from '../../common/metrics/catalogue.js';
import { metrics } from '../../common/metrics/metrics.js';
import { describeSpan, failSpan, inSpan } from '../../common/tracing/spans.js';
import type { Verdict } from '../gates/provider-gate.policy.js';
import { ProviderGates } from '../gates/provider-gates.service.js';

export interface ProviderRequest {
  /** Whose credentials these are, as the provider names the account: its gate learns how it ended. */
  account?: string;
  method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  url: string;
  headers?: Record<string, string>;
  query?: Record<string, unknown>;
  /** Already encoded. */
  body?: string;
  /** What somebody is told in it, for the log line; shown only as LOG_BODY_PREVIEW allows. */
  messageBody?: string;
  /** From the first byte of the connection to the last of the answer. */
  timeoutMs: number;
}

export interface ProviderResponse {
  status: number;
  body: string;
  headers: Record<string, string>;
}

/**
 * No usable answer came. `processed` is `no` only when it is certain that nothing reached the provider;
 * everything else must be treated as "perhaps".
 */
export class ProviderUnreachable extends Error {
  constructor(
    readonly kind: 'timeout' | 'network',
    readonly processed: 'no' | 'unknown',
    readonly code: string,
  ) {
    super(`no answer from the provider: ${code}`);
    this.name = 'ProviderUnreachable';
  }
}

const MAX_BODY_BYTES = 2_000_000;
/** A caller is waiting: a provider that asks for more patience than this is asked again all the same. */
const MAX_RETRY_AFTER_MS = 60_000;
/**
 * Idle connections are closed before the other side does it: most servers and load balancers do after 60 s, and a
 * request written into a connection that is being closed is an outcome nobody knows.
 */
const IDLE_MS = 30_000;

/**
 * The one HTTP client to providers: keep-alive, a hard deadline, no redirects, no retries (those are policy, not
 * transport), and the integration metrics and log line of every request, named by the running `@ProviderCall`.
 */
@Injectable()
export class ProviderHttp implements OnApplicationShutdown {
  private readonly agents = [
    new HttpAgent({ keepAlive: true, maxSockets: 100, timeout: IDLE_MS }),
    new HttpsAgent({ keepAlive: true, maxSockets: 100, timeout: IDLE_MS }),
  ] as const;
  private readonly axios: AxiosInstance = axios.create({
    httpAgent: this.agents[0],
    httpsAgent: this.agents[1],
    maxRedirects: 0,
    proxy: false,
    responseType: 'text',
    transformResponse: (body: string) => body,
    validateStatus: () => true,
    maxContentLength: MAX_BODY_BYTES,
  });

  constructor(
    private readonly logger: PinoLogger,
    private readonly gates: ProviderGates,
  ) {}

  /** @throws ProviderUnreachable */
  @Observed('integration_http_latency_ms', currentProviderOperation)
  async request(request: ProviderRequest): Promise<ProviderResponse> {
    const operation = currentProviderOperation();
    if (!operation) throw new Error('A provider request needs a @ProviderCall around it, which names it');
    const startedAt = performance.now();
    const record = (status: ProviderStatus, more: Record<string, unknown> = {}) => {
      metrics.increment('integration_http_requests_total', { ...operation, status });
      const level = /^[1-4]/.test(status) ? 'info' : 'warn';
      this.logger[level](
        {
          ...operation,
          status,
          latency_ms: Math.round((performance.now() - startedAt) * 10) / 10,
          body_preview: request.messageBody,
          ...more,
        },
        'provider answered',
      );
    };
    const leaveGate = request.account === undefined ? undefined : this.gates.enter(operation.provider, request.account);
    let connected = false;
    try {
      const response = await waitingForThirdParty(() =>
        this.send(request, () => {
          connected = true;
        }),
      );
      const headers = Object.fromEntries(
        Object.entries(response.headers).map(([name, value]) => [name.toLowerCase(), String(value)]),
      );
      leaveGate?.(verdictOf(response.status, headers['retry-after']));
      record(`${response.status}`, { provider_request_id: headers['twilio-request-id'] });
      return { status: response.status, body: response.data, headers };
    } catch (error) {
      const failure = failureOf(error, connected);
      leaveGate?.({ kind: 'down' });
      record(failure.kind, { error_code: failure.code, error_message: failure.message });
      throw failure;
    }
  }

  private send(request: ProviderRequest, onConnected: () => void): Promise<AxiosResponse<string>> {
    const { hostname, port, protocol } = new URL(request.url);
    const attributes = {
      'http.request.method': request.method,
      // Without the query: texts are asked for by number.
      'url.full': request.url,
      'server.address': hostname,
      'server.port': Number(port) || (protocol === 'https:' ? 443 : 80),
    };
    return inSpan(request.method, { kind: SpanKind.CLIENT, attributes }, async () => {
      const response = await this.axios.request<string>({
        method: request.method,
        url: request.url,
        headers: request.headers,
        params: request.query,
        data: request.body,
        signal: AbortSignal.timeout(request.timeoutMs),
        transport: transportTelling(onConnected),
      });
      describeSpan({ 'http.response.status_code': response.status });
      if (response.status >= 400) failSpan(`${response.status}`);
      return response;
    });
  }

  onApplicationShutdown(): void {
    for (const agent of this.agents) agent.destroy();
  }
}

/**
 * Node's own client, telling when the connection stands, its TLS included. Until then no byte of the request can have
 * left, whatever went wrong: that is what makes `processed: 'no'` certain.
 */
function transportTelling(onConnected: () => void) {
  const request = (options: RequestOptions, onResponse: (response: IncomingMessage) => void): ClientRequest => {
    const client = options.protocol === 'https:' ? https : http;
    const outgoing = client.request(options, onResponse);
    outgoing.once('socket', (socket: Socket & { secureConnecting?: boolean }) => {
      if (socket.secureConnecting) socket.once('secureConnect', onConnected);
      else if (socket.connecting) socket.once('connect', onConnected);
      else onConnected();
    });
    return outgoing;
  };
  return { request };
}

function verdictOf(status: number, retryAfter: string | undefined): Verdict {
  if (status === 429) return { kind: 'throttled', retryAfterMs: retryAfterMs(retryAfter) };
  if (status === 401) return { kind: 'credentials' };
  return { kind: status >= 500 ? 'down' : 'answered' };
}

/** What a provider asks for in `Retry-After`, as far as somebody who is waiting can follow. */
export function retryAfterMs(header: string | undefined): number | undefined {
  const seconds = Number.parseInt(header ?? '', 10);
  return seconds >= 0 ? Math.min(MAX_RETRY_AFTER_MS, seconds * 1_000) : undefined;
}

function failureOf(error: unknown, connected: boolean): ProviderUnreachable {
  const code = isAxiosError(error) ? (error.code ?? 'unknown') : 'unknown';
  const timedOut = code === 'ERR_CANCELED' || code === 'ETIMEDOUT' || code === 'ECONNABORTED';
  const processed = connected ? 'unknown' : 'no';
  return new ProviderUnreachable(timedOut ? 'timeout' : 'network', processed, timedOut ? 'timeout' : code);
}

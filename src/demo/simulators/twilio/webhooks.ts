import { randomUUID } from 'node:crypto';
import http, { type IncomingHttpHeaders } from 'node:http';
import https from 'node:https';
import { getExpectedTwilioSignature } from 'twilio/lib/webhooks/webhooks.js';
import type { Timers } from './timers.js';

const MAX_ANSWER_BYTES = 64 * 1024;

/** What became of one webhook, after all its attempts. */
export interface WebhookResult {
  readonly url: string;
  readonly params: Readonly<Record<string, string>>;
  /** HTTP status of the last answer; 0 when there was none. */
  readonly status: number;
  readonly body: string;
  readonly headers: IncomingHttpHeaders;
  readonly attempts: number;
  /** Why the last attempt got no answer. */
  readonly error: string | null;
  readonly idempotencyToken: string;
  readonly startedAt: Date;
  readonly durationMs: number;
}

export interface PostOptions {
  /** The account whose token signs; the main account by default. */
  accountSid?: string;
  /** Signs with this token instead of the account's. */
  token?: string;
  /** `true` sends a signature made with a foreign token, `'missing'` none at all. */
  forge?: boolean | 'missing';
  /** Further attempts after a failed connection, a timeout or a 5xx, with the same idempotency token. */
  withRetries?: number;
  idempotencyToken?: string;
  headers?: Record<string, string>;
}

interface RetryPolicy {
  readonly count: number;
  readonly on: ReadonlySet<string>;
  readonly connectMs: number;
  readonly readMs: number;
  readonly totalMs: number;
}

interface Attempt {
  readonly status: number;
  readonly body: string;
  readonly headers: IncomingHttpHeaders;
  readonly failure: 'ct' | 'rt' | null;
  readonly error: string | null;
}

/**
 * Connection overrides in the fragment of a webhook URL, such as `#rc=3&rp=all`, with Twilio's defaults: five seconds
 * to connect, fifteen to answer, and one retry of a failed connection only.
 */
export function retryPolicy(url: URL, withRetries?: number): RetryPolicy {
  const overrides = new URLSearchParams(url.hash.slice(1));
  const number = (key: string, fallback: number, max: number) => {
    const value = Number(overrides.get(key) ?? fallback);
    return Number.isFinite(value) ? Math.min(Math.max(value, 0), max) : fallback;
  };
  return {
    count: withRetries ?? number('rc', 1, 5),
    on: new Set(withRetries === undefined ? (overrides.get('rp') ?? 'ct').split(',') : ['ct', 'rt', '5xx']),
    connectMs: number('ct', 5_000, 10_000),
    readMs: number('rt', 15_000, 15_000),
    totalMs: number('tt', 15_000, 15_000),
  };
}

/** Posts signed webhooks as Twilio's proxy does. A delivery never throws: its failure is its result. */
export class WebhookSender {
  private readonly abort = new AbortController();
  private readonly origins = new Map<string, string>();

  constructor(
    private readonly tokenOf: (accountSid?: string) => string,
    private readonly timers: Timers,
    private readonly now: () => Date,
    private readonly retryDelayMs: number,
  ) {}

  /** Connects to another origin than the URL says; the signature and the Host header keep the public one. */
  route(publicOrigin: string, reachableOrigin: string): void {
    this.origins.set(new URL(publicOrigin).origin, new URL(reachableOrigin).origin);
  }

  async post(url: string, params: Record<string, string>, options: PostOptions = {}): Promise<WebhookResult> {
    const target = new URL(url);
    const policy = retryPolicy(target, options.withRetries);
    const signedUrl = url.split('#')[0] ?? url;
    const idempotencyToken = options.idempotencyToken ?? randomUUID();
    const headers = this.headers(signedUrl, target, params, idempotencyToken, options);
    const body = new URLSearchParams(params).toString();
    const startedAt = this.now();
    const start = performance.now();
    let attempts = 0;
    let last: Attempt;
    do {
      attempts += 1;
      const left = policy.totalMs - (performance.now() - start);
      last = await this.attempt(target, body, headers, { ...policy, totalMs: Math.max(left, 1) });
    } while (
      attempts <= policy.count &&
      isRetryable(last, policy.on) &&
      performance.now() - start + this.retryDelayMs < policy.totalMs &&
      (await this.timers.wait(this.retryDelayMs))
    );
    const { status, body: answer, headers: answerHeaders, error } = last;
    const durationMs = performance.now() - start;
    return {
      ...{ url: signedUrl, params, status, body: answer, headers: answerHeaders, attempts, error },
      ...{ idempotencyToken, startedAt, durationMs },
    };
  }

  /** Cuts off whatever is under way. */
  stop(): void {
    this.abort.abort();
  }

  private headers(
    signedUrl: string,
    target: URL,
    params: Record<string, string>,
    idempotencyToken: string,
    { accountSid, token, forge, headers }: PostOptions,
  ): Record<string, string> {
    const key = forge === true ? 'a token of somebody else' : (token ?? this.tokenOf(accountSid));
    const signature = getExpectedTwilioSignature(key, signedUrl, params);
    return {
      Host: target.host,
      'Content-Type': 'application/x-www-form-urlencoded; charset=UTF-8',
      'User-Agent': 'TwilioProxy/1.1',
      Accept: '*/*',
      'I-Twilio-Idempotency-Token': idempotencyToken,
      'X-Home-Region': 'us1',
      ...(forge === 'missing' ? {} : { 'X-Twilio-Signature': signature }),
      ...headers,
    };
  }

  private attempt(target: URL, body: string, headers: Record<string, string>, policy: RetryPolicy): Promise<Attempt> {
    const origin = this.origins.get(target.origin) ?? target.origin;
    const url = new URL(`${origin}${target.pathname}${target.search}`);
    return new Promise((resolve) => {
      let connected = false;
      const request = (url.protocol === 'https:' ? https : http).request(url, {
        method: 'POST',
        agent: false,
        headers: { ...headers, 'Content-Length': String(Buffer.byteLength(body)) },
        signal: this.abort.signal,
      });
      const deadlines = [
        setTimeout(() => connected || request.destroy(new Error('Connect timeout')), policy.connectMs),
        setTimeout(() => request.destroy(new Error('Read timeout')), Math.min(policy.readMs, policy.totalMs)),
      ];
      for (const deadline of deadlines) deadline.unref();
      const settle = (attempt: Attempt) => {
        for (const deadline of deadlines) clearTimeout(deadline);
        resolve(attempt);
      };
      const fail = (error: Error) =>
        settle({ status: 0, body: '', headers: {}, failure: connected ? 'rt' : 'ct', error: error.message });
      request.on('socket', (socket) => socket.once('connect', () => (connected = true)));
      request.on('error', fail);
      request.on('response', (response) => {
        readAnswer(response).then(
          (answer) =>
            settle({
              status: response.statusCode ?? 0,
              body: answer,
              headers: response.headers,
              failure: null,
              error: null,
            }),
          fail,
        );
      });
      request.end(body);
    });
  }
}

async function readAnswer(response: http.IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > MAX_ANSWER_BYTES) throw new Error('Answer over 64 KB');
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

function isRetryable({ failure, status }: Attempt, on: ReadonlySet<string>): boolean {
  const reason = failure ?? (status >= 500 ? '5xx' : status >= 400 ? '4xx' : null);
  return reason !== null && (on.has(reason) || on.has('all'));
}

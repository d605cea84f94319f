import type { IncomingMessage, ServerResponse } from 'node:http';
import { newSid } from './ledger.js';
import type { Timers } from './timers.js';

const MAX_BODY_BYTES = 64 * 1024;
/** How long a hanging connection is held before the simulator itself gives up. */
const MAX_HANG_MS = 120_000;

/** An error as Twilio answers it. */
export interface ApiProblem {
  readonly status: number;
  readonly code: number;
  readonly message: string;
  readonly retryAfterSeconds?: number;
}

export function notFound(path: string): ApiProblem {
  return { status: 404, code: 20404, message: `The requested resource ${path} was not found` };
}

/** One REST request and the ways in which it can be answered, or not. */
export class Exchange {
  readonly url: URL;

  constructor(
    readonly request: IncomingMessage,
    private readonly response: ServerResponse,
    private readonly timers: Timers,
    private readonly now: () => Date,
  ) {
    this.url = new URL(request.url ?? '/', 'http://simulator');
  }

  get method(): string {
    return this.request.method ?? 'GET';
  }

  /** User and password of the basic authentication header. */
  get credentials(): { user: string; password: string } | null {
    const encoded = /^Basic\s+(\S+)$/i.exec(this.request.headers.authorization ?? '')?.[1];
    if (encoded === undefined) return null;
    const decoded = Buffer.from(encoded, 'base64').toString('utf8');
    const colon = decoded.indexOf(':');
    return colon < 0 ? null : { user: decoded.slice(0, colon), password: decoded.slice(colon + 1) };
  }

  /** The form in the body, or null when it is too large or was cut off. */
  async readForm(): Promise<URLSearchParams | null> {
    const chunks: Buffer[] = [];
    let size = 0;
    try {
      for await (const chunk of this.request as AsyncIterable<Buffer>) {
        size += chunk.length;
        // An oversized body is read to its end, or the refusal could not be sent.
        if (size <= MAX_BODY_BYTES) chunks.push(chunk);
      }
    } catch {
      return null;
    }
    return size > MAX_BODY_BYTES ? null : new URLSearchParams(Buffer.concat(chunks).toString('utf8'));
  }

  json(status: number, body: unknown, headers: Record<string, string> = {}): void {
    this.send(status, JSON.stringify(body), headers);
  }

  problem({ status, code, message, retryAfterSeconds }: ApiProblem): void {
    const headers: Record<string, string> = {};
    if (status === 401) headers['WWW-Authenticate'] = 'Basic realm="Twilio API"';
    if (retryAfterSeconds !== undefined) headers['Retry-After'] = String(retryAfterSeconds);
    this.json(status, { code, message, more_info: `https://www.twilio.com/docs/errors/${code}`, status }, headers);
  }

  send(status: number, body: string, headers: Record<string, string> = {}): void {
    this.writeHead(status, Buffer.byteLength(body), headers);
    this.response.end(body);
  }

  /** Announces the whole body, sends half of it and closes the connection. */
  truncate(status: number, body: unknown): void {
    const text = JSON.stringify(body);
    this.writeHead(status, Buffer.byteLength(text), {});
    this.response.write(text.slice(0, text.length / 2), () => this.response.destroy());
  }

  /** Keeps the connection open without an answer, until the caller or the simulator gives up. */
  hang(): void {
    void this.timers.wait(MAX_HANG_MS).then(() => this.response.destroy());
  }

  /** Resets the connection. */
  reset(): void {
    this.request.socket.resetAndDestroy();
  }

  /** Closes the connection without an answer. */
  drop(): void {
    this.response.destroy();
  }

  private writeHead(status: number, length: number, headers: Record<string, string>): void {
    this.response.writeHead(status, {
      'Content-Type': 'application/json;charset=utf-8',
      'Content-Length': length,
      Date: this.now().toUTCString(),
      'Twilio-Concurrent-Requests': '1',
      'Twilio-Request-Id': newSid('RQ'),
      'Twilio-Request-Duration': '0.020',
      'X-Home-Region': 'us1',
      'X-API-Domain': 'api.twilio.com',
      ...headers,
    });
  }
}

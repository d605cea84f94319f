import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { Context } from '../context/context.js';
import { coveredMs, noteThirdParties } from '../context/third-party-time.js';
import type { BookingApiRoute } from '../decorators/booking-api.decorator.js';
import type { RunningTrace } from '../tracing/spans.js';

/** What became of one request to the booking API, and how long it took. */
export interface BookingSample {
  /** Undefined where the caller hung up before there was an answer. */
  status: number | undefined;
  totalMs: number;
  /** From the last byte of the request on, without the time in which a third party was waited for. */
  ownMs: number;
  /** Undefined where it was refused or failed before that was known. */
  tenantId: string | undefined;
  correlationId: string;
}

type Listener = (sample: BookingSample) => void;

/** By server, because several may share a process. */
const listeners = new WeakMap<object, Listener>();

/** Hears of every request to the booking API of this server, however it ended. The listener must not throw. */
export function onBookingSample(server: FastifyInstance, listener: Listener): void {
  listeners.set(server, listener);
}

interface Edge {
  context: Context;
  trace: RunningTrace | undefined;
  startedAt: number;
  /** When all of the request was there; what its sender takes for that is not ours. */
  receivedAt?: number;
}

/** Measures the request if its route is marked with `@BookingApi`. */
export function measureBooking(
  server: FastifyInstance,
  request: FastifyRequest,
  reply: FastifyReply,
  edge: Edge,
): void {
  if (!(request.routeOptions.config as BookingApiRoute | undefined)?.bookingApi) return;
  const waits = noteThirdParties(edge.context);
  // The one event that an answer and a caller who hung up have in common; first, while the server span is still open.
  reply.raw.prependOnceListener('close', () => {
    const to = performance.now();
    const from = edge.receivedAt ?? to;
    const sample = {
      status: reply.raw.writableFinished ? reply.statusCode : undefined,
      totalMs: to - edge.startedAt,
      ownMs: to - from - coveredMs(waits, { from, to }),
      tenantId: edge.context.tenantId,
      correlationId: edge.context.correlationId,
    };
    const tell = () => listeners.get(server)?.(sample);
    if (edge.trace) edge.trace.run(tell);
    else tell();
  });
}

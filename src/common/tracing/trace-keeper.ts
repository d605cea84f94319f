import { type Context, SpanStatusCode, TraceFlags } from '@opentelemetry/api';
import type { ReadableSpan, Span, SpanProcessor } from '@opentelemetry/sdk-trace';

/** Why a trace that was not sampled is exported after all. */
export const KEEP_REASONS = ['error', 'slo_breach', 'elsewhere'] as const;
export type KeepReason = (typeof KEEP_REASONS)[number];

/** A span with this attribute keeps its whole trace. */
export const KEEP_ATTRIBUTE = 'nmc.keep_trace';

export interface TraceKeeperLimits {
  /** How long the spans of an unsampled trace wait for a failure, since its first one began. */
  ttlMs: number;
  maxTraces: number;
  maxSpansPerTrace: number;
  /** Traces kept per second at most: nobody may buy himself full tracing with failures he provokes. */
  maxKeptPerSecond: number;
}

export interface TraceKeeperEvents {
  /** A trace was kept here; other processes may hold parts of it. Not called for `elsewhere`. */
  kept?: (traceId: string, reason: KeepReason) => void;
  /** Any promotion, `elsewhere` included. */
  promoted?: (reason: KeepReason) => void;
  /** Spans given up for want of room, or promotions refused by the cap. */
  evicted?: (count: number) => void;
}

interface Entry {
  startedAt: number;
  spans: ReadableSpan[];
}

const DEFAULT_LIMITS: TraceKeeperLimits = {
  ttlMs: 120_000,
  maxTraces: 2_000,
  maxSpansPerTrace: 500,
  maxKeptPerSecond: 20,
};
const REMEMBER_MS = 15 * 60_000;
const MAX_REMEMBERED = 10_000;

/**
 * Exports the sampled share of all traces and every trace with a failure in it, whole. Head sampling decides before the
 * failure is known, so everything is recorded, the unsampled part is held back for a while, and one failed span releases all of it, in this process and, through `keep`, in others. Memory is bounded.
 */
export class TraceKeeper implements SpanProcessor {
  private readonly entries = new Map<string, Entry>();
  private readonly remembered = new Map<string, number>();
  private readonly limits: TraceKeeperLimits;
  private events: TraceKeeperEvents = {};
  private second = 0;
  private keptThisSecond = 0;

  constructor(
    private readonly next: SpanProcessor,
    limits: Partial<TraceKeeperLimits> = {},
    private readonly now: () => number = () => performance.now(),
  ) {
    this.limits = { ...DEFAULT_LIMITS, ...limits };
  }

  /** Who wants to know; set once the application is up. */
  listen(events: TraceKeeperEvents): void {
    this.events = events;
  }

  onStart(span: Span, parentContext: Context): void {
    this.next.onStart(span, parentContext);
    if (isSampled(span)) return;
    this.expire();
    const { traceId } = span.spanContext();
    if (!this.entries.has(traceId)) this.entries.set(traceId, { startedAt: this.now(), spans: [] });
    if (this.entries.size > this.limits.maxTraces) this.evictOldest();
  }

  onEnd(span: ReadableSpan): void {
    if (isSampled(span)) {
      this.next.onEnd(span);
      return;
    }
    const { traceId } = span.spanContext();
    const reason = reasonOf(span);
    if (this.remembered.has(traceId)) {
      this.next.onEnd(promote(span, 'late'));
      return;
    }
    const entry = this.entries.get(traceId);
    if (entry && entry.spans.length < this.limits.maxSpansPerTrace) entry.spans.push(span);
    else this.events.evicted?.(1);
    if (reason) this.keep(traceId, reason);
  }

  /** Releases what is held of a trace, and lets through what is still to come of it. */
  keep(traceId: string, reason: KeepReason): void {
    if (this.remembered.has(traceId)) return;
    if (!this.isWithinCap()) {
      this.events.evicted?.(this.entries.get(traceId)?.spans.length ?? 0);
      return;
    }
    this.remembered.set(traceId, this.now());
    const entry = this.entries.get(traceId);
    for (const span of entry?.spans ?? []) this.next.onEnd(promote(span, reason));
    if (entry) entry.spans = [];
    this.events.promoted?.(reason);
    if (reason !== 'elsewhere') this.events.kept?.(traceId, reason);
  }

  forceFlush(): Promise<void> {
    return this.next.forceFlush();
  }

  shutdown(): Promise<void> {
    this.entries.clear();
    return this.next.shutdown();
  }

  private isWithinCap(): boolean {
    const second = Math.floor(this.now() / 1000);
    if (second !== this.second) {
      this.second = second;
      this.keptThisSecond = 0;
    }
    return ++this.keptThisSecond <= this.limits.maxKeptPerSecond;
  }

  /** Maps iterate in the order of insertion, so the oldest come first and this ends at the first young one. */
  private expire(): void {
    const now = this.now();
    for (const [traceId, entry] of this.entries) {
      if (now - entry.startedAt <= this.limits.ttlMs) break;
      this.entries.delete(traceId);
    }
    for (const [traceId, since] of this.remembered) {
      if (now - since <= REMEMBER_MS && this.remembered.size <= MAX_REMEMBERED) break;
      this.remembered.delete(traceId);
    }
  }

  private evictOldest(): void {
    const [oldest] = this.entries;
    if (!oldest) return;
    this.entries.delete(oldest[0]);
    this.events.evicted?.(oldest[1].spans.length);
  }
}

function isSampled(span: ReadableSpan | Span): boolean {
  return (span.spanContext().traceFlags & TraceFlags.SAMPLED) !== 0;
}

function reasonOf(span: ReadableSpan): KeepReason | undefined {
  const asked = span.attributes[KEEP_ATTRIBUTE];
  const known = KEEP_REASONS.find((reason) => reason === asked);
  return known ?? (span.status.code === SpanStatusCode.ERROR ? 'error' : undefined);
}

/** The same span with the sampled flag, without which no processor exports it, and with the reason it was kept for. */
function promote(span: ReadableSpan, reason: KeepReason | 'late'): ReadableSpan {
  const context = span.spanContext();
  return withOverrides(span, {
    spanContext: () => ({ ...context, traceFlags: context.traceFlags | TraceFlags.SAMPLED }),
    attributes: { ...span.attributes, 'sampling.reason': reason },
  });
}

/** A span that differs in some members. A proxy, because the SDK's spans keep theirs behind getters. */
export function withOverrides(span: ReadableSpan, overrides: Partial<ReadableSpan>): ReadableSpan {
  return new Proxy(span, {
    get(target, key) {
      if (key in overrides) return overrides[key as keyof ReadableSpan];
      const value: unknown = Reflect.get(target, key, target);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}

import { SpanStatusCode } from '@opentelemetry/api';
import type { SpanProcessor } from '@opentelemetry/sdk-trace';
import type { LocalTrace, RecordedSpan } from './recorded-span.js';

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

interface HeldTrace extends LocalTrace {
  readonly startedAt: number;
  /** What waits for a failure; undefined once there is no room for it any more. */
  spans: RecordedSpan[] | undefined;
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
 * failure is known, so everything is recorded, the unsampled part is held back for a while, and one failed span releases
 * all of it, in this process and, through `keep`, in others. Memory is bounded.
 */
export class TraceKeeper {
  private readonly held = new Map<string, HeldTrace>();
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

  /** What this process has, or will have, of a trace. */
  open(traceId: string, isSampled: boolean): LocalTrace {
    const epoch = Date.now() - performance.now();
    if (isSampled) return { traceId, isSampled, epoch, ended: (span) => this.next.onEnd(span.toReadable()) };
    const known = this.held.get(traceId);
    if (known) return known;
    this.expire();
    const ended = (span: RecordedSpan) => this.ended(opened, span);
    const opened: HeldTrace = { traceId, isSampled, epoch, ended, startedAt: this.now(), spans: [] };
    this.held.set(traceId, opened);
    if (this.held.size > this.limits.maxTraces) this.evictOldest();
    return opened;
  }

  private ended({ traceId, spans }: HeldTrace, span: RecordedSpan): void {
    const reason = reasonOf(span);
    if (reason) this.keep(traceId, reason);
    if (this.remembered.has(traceId)) this.next.onEnd(span.toReadable(reason ?? 'late'));
    else if (spans && spans.length < this.limits.maxSpansPerTrace) spans.push(span);
    else this.events.evicted?.(1);
  }

  /** Releases what is held of a trace, and lets through what is still to come of it. */
  keep(traceId: string, reason: KeepReason): void {
    if (this.remembered.has(traceId)) return;
    const spans = this.held.get(traceId)?.spans ?? [];
    if (!this.isWithinCap()) {
      this.events.evicted?.(spans.length);
      return;
    }
    this.remembered.set(traceId, this.now());
    for (const span of spans.splice(0)) this.next.onEnd(span.toReadable(reason));
    this.events.promoted?.(reason);
    if (reason !== 'elsewhere') this.events.kept?.(traceId, reason);
  }

  forceFlush(): Promise<void> {
    return this.next.forceFlush();
  }

  shutdown(): Promise<void> {
    this.held.clear();
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
    for (const [traceId, trace] of this.held) {
      if (now - trace.startedAt <= this.limits.ttlMs) break;
      this.letGo(traceId, trace);
    }
    for (const [traceId, since] of this.remembered) {
      if (now - since <= REMEMBER_MS && this.remembered.size <= MAX_REMEMBERED) break;
      this.remembered.delete(traceId);
    }
  }

  private evictOldest(): void {
    const [oldest] = this.held;
    if (!oldest) return;
    this.events.evicted?.(oldest[1].spans?.length ?? 0);
    this.letGo(...oldest);
  }

  /** What of it is still running has nothing to wait with any more. */
  private letGo(traceId: string, trace: HeldTrace): void {
    this.held.delete(traceId);
    trace.spans = undefined;
  }
}

function reasonOf(span: RecordedSpan): KeepReason | undefined {
  const asked = span.addedAttribute(KEEP_ATTRIBUTE);
  const known = asked === undefined ? undefined : KEEP_REASONS.find((reason) => reason === asked);
  return known ?? (span.status.code === SpanStatusCode.ERROR ? 'error' : undefined);
}

import {
  type Attributes,
  type AttributeValue,
  type Exception,
  type HrTime,
  type Link,
  type Span,
  type SpanContext,
  type SpanKind,
  type SpanStatus,
  SpanStatusCode,
  type TimeInput,
  TraceFlags,
} from '@opentelemetry/api';
import {
  hrTimeDuration,
  hrTimeToMilliseconds,
  type InstrumentationScope,
  millisToHrTime,
  timeInputToHrTime,
} from '@opentelemetry/core';
import { emptyResource } from '@opentelemetry/resources';
import { RandomIdGenerator, type ReadableSpan, type TimedEvent } from '@opentelemetry/sdk-trace';
import type { Context } from '../context/context.js';

/** What this process has of a trace. */
export interface LocalTrace {
  readonly traceId: string;
  readonly isSampled: boolean;
  /** Milliseconds to add to `performance.now()` for the time of day: fixed, so that spans fit each other exactly. */
  readonly epoch: number;
  /** Told of each span when it ends. */
  readonly ended: (span: RecordedSpan) => void;
}

interface Beginning {
  name: string;
  kind: SpanKind;
  scope: InstrumentationScope;
  parent: RecordedSpan | SpanContext | undefined;
  /** Taken as they are, not copied: whoever gives them must not change them afterwards. */
  attributes: Attributes | undefined;
  startTime: TimeInput | undefined;
}

const ids = new RandomIdGenerator();
const UNSET: SpanStatus = { code: SpanStatusCode.UNSET };
const NO_EVENTS: readonly TimedEvent[] = [];
const NO_LINKS: readonly Link[] = [];
const NO_RESOURCE = emptyResource();

/**
 * A span as a note: nine of ten are thrown away again unread, so it costs as little as possible until somebody wants
 * to read it; memory above all, because the garbage collector moves whatever waits. Its id is made when it is asked
 * for, its attributes are put together when it is exported; what the unit of work knows by then (its journey, its
 * tenant) is among them.
 */
export class RecordedSpan implements Span {
  status = UNSET;
  private name: string;
  private readonly kind: SpanKind;
  private readonly scope: InstrumentationScope;
  private readonly parent: RecordedSpan | SpanContext | undefined;
  private readonly attributes: Attributes | undefined;
  private id: string | undefined;
  private added: Attributes | undefined;
  private events = NO_EVENTS;
  private links = NO_LINKS;
  private readonly startedAt: number;
  private endedAt: number | undefined;

  constructor(
    readonly trace: LocalTrace,
    { name, kind, scope, parent, attributes, startTime }: Beginning,
    private readonly unit: Context | undefined,
  ) {
    this.name = name;
    this.kind = kind;
    this.scope = scope;
    this.parent = parent;
    this.attributes = attributes;
    this.startedAt = this.clock(startTime);
  }

  spanContext(): SpanContext {
    this.id ??= ids.generateSpanId();
    const { traceId, isSampled } = this.trace;
    return { traceId, spanId: this.id, traceFlags: isSampled ? TraceFlags.SAMPLED : TraceFlags.NONE };
  }

  /** An attribute that was added after the start. */
  addedAttribute(key: string): AttributeValue | undefined {
    return this.added?.[key];
  }

  setAttribute(key: string, value: AttributeValue): this {
    this.added ??= {};
    this.added[key] = value;
    return this;
  }

  setAttributes(attributes: Attributes): this {
    this.added = { ...this.added, ...attributes };
    return this;
  }

  addEvent(name: string, attributesOrTime?: Attributes | TimeInput, time?: TimeInput): this {
    const isTime =
      typeof attributesOrTime !== 'object' || attributesOrTime instanceof Date || Array.isArray(attributesOrTime);
    const attributes = isTime ? undefined : (attributesOrTime as Attributes);
    const at = this.clock(isTime ? (attributesOrTime as TimeInput | undefined) : time);
    this.events = [...this.events, { name, attributes, time: this.timeOf(at) }];
    return this;
  }

  addLink(link: Link): this {
    return this.addLinks([link]);
  }

  addLinks(links: Link[]): this {
    this.links = [...this.links, ...links];
    return this;
  }

  setStatus(status: SpanStatus): this {
    this.status = status;
    return this;
  }

  updateName(name: string): this {
    this.name = name;
    return this;
  }

  recordException(exception: Exception, time?: TimeInput): void {
    const { name, message, stack } = typeof exception === 'string' ? { message: exception } : (exception as Error);
    const attributes = { 'exception.type': name, 'exception.message': message, 'exception.stacktrace': stack };
    this.addEvent('exception', attributes, time);
  }

  isRecording(): boolean {
    return this.endedAt === undefined;
  }

  end(time?: TimeInput): void {
    if (this.endedAt !== undefined) return;
    this.endedAt = this.clock(time);
    this.trace.ended(this);
  }

  /** As it is exported. @param reason why it is, although its trace was not sampled */
  toReadable(reason?: string): ReadableSpan {
    const { kind, parent, scope, attributes } = this;
    const context = { ...this.spanContext(), ...(reason && { traceFlags: TraceFlags.SAMPLED }) };
    const startTime = this.timeOf(this.startedAt);
    const endTime = this.timeOf(this.endedAt ?? this.startedAt);
    return {
      name: this.name,
      kind,
      spanContext: () => context,
      parentSpanContext: parent instanceof RecordedSpan ? parent.spanContext() : parent,
      startTime,
      endTime,
      duration: hrTimeDuration(startTime, endTime),
      ended: true,
      status: this.status,
      attributes: known({ ...attributes, ...this.ours(), ...this.added, 'sampling.reason': reason }),
      events: [...this.events],
      links: [...this.links],
      resource: NO_RESOURCE,
      instrumentationScope: scope,
      droppedAttributesCount: 0,
      droppedEventsCount: 0,
      droppedLinksCount: 0,
    };
  }

  private ours(): Attributes | undefined {
    const { unit } = this;
    return unit && { correlation_id: unit.correlationId, tenant_id: unit.tenantId, causation_id: unit.causationId };
  }

  private clock(time: TimeInput | undefined): number {
    if (time === undefined) return performance.now();
    return hrTimeToMilliseconds(timeInputToHrTime(time)) - this.trace.epoch;
  }

  private timeOf(at: number): HrTime {
    return millisToHrTime(this.trace.epoch + at);
  }
}

function known(attributes: Attributes): Attributes {
  return Object.fromEntries(Object.entries(attributes).filter(([, value]) => value !== undefined));
}

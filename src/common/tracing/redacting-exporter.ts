import type { Attributes, AttributeValue } from '@opentelemetry/api';
import { emptyResource } from '@opentelemetry/resources';
import type { ReadableSpan, SpanExporter } from '@opentelemetry/sdk-trace';
import { redactText } from '../logging/redactor.js';

/**
 * The redactor's net under traces: whatever an instrumentation writes into names, attributes, events or status passes
 * it on the way out. If it fails, the span goes without the part that could not be checked.
 */
export class RedactingExporter implements SpanExporter {
  /** @param resource whose spans these are */
  constructor(
    private readonly next: SpanExporter,
    private readonly resource = emptyResource(),
  ) {}

  export(spans: ReadableSpan[], done: Parameters<SpanExporter['export']>[1]): void {
    this.next.export(
      spans.map((span) => ({ ...redacted(span), resource: this.resource })),
      done,
    );
  }

  async forceFlush(): Promise<void> {
    await this.next.forceFlush?.();
  }

  shutdown(): Promise<void> {
    return this.next.shutdown();
  }
}

function redacted(span: ReadableSpan): ReadableSpan {
  return {
    ...span,
    name: checked(span.name),
    attributes: checkedAll(span.attributes),
    events: span.events.map((event) => ({ ...event, attributes: checkedAll(event.attributes ?? {}) })),
    status: span.status.message ? { ...span.status, message: checked(span.status.message) } : span.status,
  };
}

function checkedAll(attributes: Attributes): Attributes {
  const entries = Object.entries(attributes).map(([key, value]) => [key, checkedValue(value)]);
  return Object.fromEntries(entries) as Attributes;
}

function checkedValue(value: AttributeValue | undefined): AttributeValue | undefined {
  if (typeof value === 'string') return checked(value);
  if (!Array.isArray(value)) return value;
  return value.map((item) => (typeof item === 'string' ? checked(item) : item)) as AttributeValue;
}

function checked(text: string): string {
  try {
    return redactText(text);
  } catch {
    return '[unchecked]';
  }
}

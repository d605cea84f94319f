import { type Attributes, context, ROOT_CONTEXT, SpanStatusCode, TraceFlags, trace } from '@opentelemetry/api';
import { InMemorySpanExporter, SimpleSpanProcessor } from '@opentelemetry/sdk-trace';
import { RecordingTracerProvider } from './recording-tracer.js';
import { RedactingExporter } from './redacting-exporter.js';
import { KEEP_ATTRIBUTE, TraceKeeper, type TraceKeeperLimits } from './trace-keeper.js';

function setUp(share: number, limits: Partial<TraceKeeperLimits> = {}) {
  const exporter = new InMemorySpanExporter();
  const clock = { now: 0 };
  const processor = new SimpleSpanProcessor({ exporter: new RedactingExporter(exporter) });
  const keeper = new TraceKeeper(processor, { maxKeptPerSecond: 1e9, ...limits }, () => clock.now);
  const tracer = new RecordingTracerProvider(keeper, share).getTracer('test');

  /** Three spans deep: webhook, dispatch, provider; the innermost fails if asked to. */
  function run(outcome: 'fine' | 'error' | Attributes, parent = ROOT_CONTEXT): string {
    const webhook = tracer.startSpan('webhook', {}, parent);
    const inWebhook = trace.setSpan(parent, webhook);
    const dispatch = tracer.startSpan('dispatch', {}, inWebhook);
    const provider = tracer.startSpan('provider', {}, trace.setSpan(inWebhook, dispatch));
    if (outcome === 'error') provider.setStatus({ code: SpanStatusCode.ERROR });
    else if (outcome !== 'fine') provider.setAttributes(outcome);
    for (const span of [provider, dispatch, webhook]) span.end();
    return webhook.spanContext().traceId;
  }
  const exported = () => exporter.getFinishedSpans();
  const namesOf = (traceId: string) =>
    exported()
      .filter((span) => span.spanContext().traceId === traceId)
      .map(({ name }) => name)
      .sort();
  return { keeper, run, exported, namesOf, clock, tracer };
}

const WHOLE = ['dispatch', 'provider', 'webhook'];

describe('keeping traces', () => {
  it('exports every trace with a failure whole, and about a tenth of the others', () => {
    const { run, exported, namesOf } = setUp(0.1);
    const failed = new Set<string>();
    for (let i = 0; i < 2_000; i++) {
      const traceId = run(i % 50 === 0 ? 'error' : 'fine');
      if (i % 50 === 0) failed.add(traceId);
    }
    for (const traceId of failed) expect(namesOf(traceId)).toEqual(WHOLE);
    const ids = exported().map((span) => span.spanContext().traceId);
    const others = new Set(ids.filter((traceId) => !failed.has(traceId)));
    expect(others.size).toBeGreaterThan(120);
    expect(others.size).toBeLessThan(280);
  });

  it('marks what it promotes as sampled, and says why', () => {
    const { run, exported } = setUp(0);
    run('error');
    for (const span of exported()) {
      expect(span.spanContext().traceFlags & TraceFlags.SAMPLED).toBe(TraceFlags.SAMPLED);
      expect(span.attributes['sampling.reason']).toMatch(/^(error|late)$/);
    }
    expect(exported()).toHaveLength(3);
  });

  it('keeps a trace that somebody asks for although nothing failed', () => {
    const { run, namesOf } = setUp(0);
    expect(namesOf(run({ [KEEP_ATTRIBUTE]: 'slo_breach' }))).toEqual(WHOLE);
  });

  it('releases its half when another process keeps the trace, and tells the others when it does itself', () => {
    const [web, worker] = [setUp(0), setUp(0)];
    const told: string[] = [];
    worker.keeper.listen({ kept: (traceId) => told.push(traceId) });
    const webhook = web.tracer.startSpan('webhook');
    webhook.end();
    const { traceId } = webhook.spanContext();
    worker.run('error', trace.setSpanContext(context.active(), { ...webhook.spanContext(), isRemote: true }));
    expect(told).toEqual([traceId]);
    expect(web.namesOf(traceId)).toEqual([]);
    web.keeper.keep(traceId, 'elsewhere');
    expect(web.namesOf(traceId)).toEqual(['webhook']);
  });

  it('holds nothing longer than its time', () => {
    const { keeper, run, namesOf, clock } = setUp(0, { ttlMs: 1_000 });
    const traceId = run('fine');
    clock.now = 1_001;
    run('fine');
    keeper.keep(traceId, 'elsewhere');
    expect(namesOf(traceId)).toEqual([]);
  });

  it('has bounds on traces, spans and promotions, and counts what they cost', () => {
    const { keeper, run, namesOf, tracer } = setUp(0, { maxTraces: 2, maxSpansPerTrace: 2, maxKeptPerSecond: 1 });
    let evicted = 0;
    keeper.listen({ evicted: (count) => (evicted += count) });
    const first = run('fine');
    expect(evicted).toBe(1); // the third span
    run('fine');
    run('fine');
    expect(evicted).toBe(1 + 2 + 2); // the first trace, and two more third spans
    keeper.keep(first, 'elsewhere');
    expect(namesOf(first)).toEqual([]);
    const refused = tracer.startSpan('refused');
    refused.setStatus({ code: SpanStatusCode.ERROR });
    refused.end();
    expect(namesOf(refused.spanContext().traceId)).toEqual([]);
  });
});

describe('what leaves with a trace', () => {
  it('has no number, address or token in names, attributes, events or status', () => {
    const { tracer, exported } = setUp(1);
    const span = tracer.startSpan('call to +14155550132', {
      attributes: { 'url.full': 'https://x/?To=%2B14155550132&token=abcdef123456', list: ['jane@example.com'], n: 7 },
    });
    span.addEvent('exception', { 'exception.message': 'no route to (415) 555-0132' });
    span.setStatus({ code: SpanStatusCode.ERROR, message: 'refused +14155550132' });
    span.end();
    const [sent] = exported();
    const text = JSON.stringify([sent?.name, sent?.attributes, sent?.events, sent?.status]);
    expect(text).toContain('0132');
    expect(text).not.toMatch(/415555|555-0132|jane|abcdef/);
    expect(sent?.attributes['n']).toBe(7);
  });
});

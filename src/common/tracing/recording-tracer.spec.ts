import { context, ROOT_CONTEXT, type Span, SpanKind, SpanStatusCode, trace } from '@opentelemetry/api';
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks';
import { suppressTracing } from '@opentelemetry/core';
import { InMemorySpanExporter, type ReadableSpan, SimpleSpanProcessor } from '@opentelemetry/sdk-trace';
import { runInContext, setTenant } from '../context/context.js';
import { AppError } from '../errors/app-error.js';
import { RecordingTracerProvider } from './recording-tracer.js';
import { beginTrace, currentTraceparent, inSpan, isTraced, traceFields, withoutTrace } from './spans.js';
import { TraceKeeper } from './trace-keeper.js';

const exporter = new InMemorySpanExporter();
const keeper = new TraceKeeper(new SimpleSpanProcessor({ exporter }));
context.setGlobalContextManager(new AsyncLocalStorageContextManager());
trace.setGlobalTracerProvider(new RecordingTracerProvider(keeper, 1));
const library = trace.getTracer('some-library', '1.2.3');

beforeEach(() => exporter.reset());

function exported(name: string): ReadableSpan {
  const [span, ...more] = exporter.getFinishedSpans().filter((one) => one.name === name);
  if (!span || more.length > 0) throw new Error(`${name}: not exactly one span`);
  return span;
}
const parentOf = (name: string) => exported(name).parentSpanContext?.spanId;
const idOf = (name: string) => exported(name).spanContext().spanId;

describe('our spans', () => {
  it('nest, whoever makes them: what a library traces by the API stands where it was called', async () => {
    await inSpan('ours', {}, () =>
      library.startActiveSpan('theirs', async (span) => {
        await inSpan('ours again', {}, () => undefined);
        span.end();
      }),
    );
    expect([parentOf('ours'), parentOf('theirs'), parentOf('ours again')]).toEqual([
      undefined,
      idOf('ours'),
      idOf('theirs'),
    ]);
    expect(exported('theirs').instrumentationScope).toMatchObject({ name: 'some-library', version: '1.2.3' });
    expect(new Set(exporter.getFinishedSpans().map((span) => span.spanContext().traceId)).size).toBe(1);
  });

  it('say what their unit of work knows by the time that they are exported', async () => {
    const held = new TraceKeeper(new SimpleSpanProcessor({ exporter }));
    const tracer = new RecordingTracerProvider(held, 0).getTracer('test');
    await runInContext({ correlationId: 'c-1', causationId: 'e-1', module: 'telephony' }, () => {
      const span = tracer.startSpan('early', { attributes: { event_id: 'e-2' } });
      span.end();
      setTenant('t-1');
      held.keep(span.spanContext().traceId, 'elsewhere');
    });
    expect(exported('early').attributes).toEqual({
      correlation_id: 'c-1',
      causation_id: 'e-1',
      tenant_id: 't-1',
      event_id: 'e-2',
      'sampling.reason': 'elsewhere',
    });
    // Outside of any there is nothing to say, and nothing is said.
    library.startSpan('alone').end();
    expect(exported('alone').attributes).toEqual({});
  });

  it('fail with the code of what was thrown, never with its text', async () => {
    const failed = inSpan('failing', {}, () => {
      throw new AppError({ code: 'some.code', status: 500, message: 'about somebody' });
    });
    await expect(failed).rejects.toThrow('about somebody');
    expect(exported('failing').status).toEqual({ code: SpanStatusCode.ERROR, message: 'some.code' });
    expect(exported('failing').attributes).toEqual({ 'error.type': 'some.code' });
  });

  it('continue what another process began by its traceparent, and its decision', async () => {
    let stored: string | undefined;
    await inSpan('cause', {}, () => {
      stored = currentTraceparent();
    });
    await inSpan('effect', { parent: stored }, () => undefined);
    expect(exported('effect').spanContext().traceId).toBe(exported('cause').spanContext().traceId);
    expect(parentOf('effect')).toBe(idOf('cause'));
    await inSpan('unsampled', { parent: `00-${'a'.repeat(32)}-${'b'.repeat(16)}-00` }, () => undefined);
    expect(exporter.getFinishedSpans().map(({ name }) => name)).not.toContain('unsampled');
    keeper.keep('a'.repeat(32), 'elsewhere');
    expect(parentOf('unsampled')).toBe('b'.repeat(16));
  });

  it('begin a trace of their own where asked to, and are running until they end', async () => {
    await inSpan('request', {}, async () => {
      const begun = beginTrace('another request', SpanKind.SERVER);
      begun?.run(() => {
        expect(isTraced()).toBe(true);
        expect(traceFields()).toEqual({
          trace_id: begun.span.spanContext().traceId,
          span_id: begun.span.spanContext().spanId,
        });
        begun.span.end();
        expect(isTraced()).toBe(false);
      });
      library.startSpan('root', { root: true }).end();
      withoutTrace(() => library.startSpan('housekeeping').end());
    });
    expect([parentOf('another request'), parentOf('root')]).toEqual([undefined, undefined]);
    expect(exporter.getFinishedSpans().map(({ name }) => name)).not.toContain('housekeeping');
    expect([isTraced(), traceFields(), currentTraceparent()]).toEqual([false, undefined, undefined]);
  });

  it('have everything that the API can say, once', () => {
    const given = { a: 1 };
    const link = { context: { traceId: 'c'.repeat(32), spanId: 'd'.repeat(16), traceFlags: 1 } };
    const startTime = new Date('2026-01-01T00:00:00Z');
    const span: Span = library.startSpan('first', {
      kind: SpanKind.CLIENT,
      attributes: given,
      startTime,
      links: [link],
    });
    span.setAttribute('a', 2).setAttributes({ b: 'x' }).addLinks([link]).updateName('second');
    span.addEvent('plain', startTime).addEvent('rich', { n: 1 }, startTime);
    span.recordException(new TypeError('wrong'), startTime);
    span.end(new Date('2026-01-01T00:00:01.5Z'));
    span.end();
    const sent = exported('second');
    expect(given).toEqual({ a: 1 });
    expect(sent).toMatchObject({ kind: SpanKind.CLIENT, attributes: { a: 2, b: 'x' }, duration: [1, 500_000_000] });
    expect(sent.startTime[0]).toBe(startTime.getTime() / 1_000);
    expect(sent.links).toEqual([link, link]);
    expect(sent.events.map(({ name, attributes }) => [name, attributes])).toEqual([
      ['plain', undefined],
      ['rich', { n: 1 }],
      ['exception', expect.objectContaining({ 'exception.type': 'TypeError', 'exception.message': 'wrong' })],
    ]);
  });

  it('are measured by one clock, near that of the day', () => {
    const from = Date.now();
    const outer = library.startSpan('outer');
    const inner = library.startSpan('inner', {}, trace.setSpan(ROOT_CONTEXT, outer));
    inner.end();
    outer.end();
    const [start, end] = [exported('outer').startTime, exported('inner').endTime].map(([s, ns]) => s * 1e3 + ns / 1e6);
    expect(Number(start)).toBeGreaterThan(from - 50);
    expect(Number(end)).toBeGreaterThanOrEqual(Number(start));
    expect(Number(end)).toBeLessThan(Date.now() + 50);
  });

  it('are not made where a library asks for silence', () => {
    context.with(suppressTracing(ROOT_CONTEXT), () => {
      expect(library.startSpan('export').isRecording()).toBe(false);
    });
  });
});

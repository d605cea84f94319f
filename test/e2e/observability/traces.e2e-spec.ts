import { jest } from '@jest/globals';
import { SIMULATED_ACCOUNT } from '../../../src/demo/development.js';
import { TwilioSimulator } from '../../../src/demo/simulators/twilio/twilio-simulator.js';
import { cloneDatabase, type TestDatabase } from '../../support/database.js';
import { eventually } from '../../support/eventually.js';
import { type CollectedSpan, OtlpCollector } from '../../support/otlp-collector.js';
import { killAllSpawned, onboard, productionEnvironment, SpawnedApp } from '../../support/spawned-app.js';

const BUSINESS = '+12125550150';
const CALLER = '+14155550181';

jest.setTimeout(60_000);

describe('one waterfall from the webhook to the provider', () => {
  let database: TestDatabase;
  let twilio: TwilioSimulator;
  let collector: OtlpCollector;
  let trace: CollectedSpan[];
  let correlationId: string;

  beforeAll(async () => {
    database = await cloneDatabase();
    twilio = await TwilioSimulator.start({ ...SIMULATED_ACCOUNT });
    collector = await OtlpCollector.start();
    const sampled = { ...collector.environment, OTEL_TRACES_SAMPLER_ARG: '1' };
    const web = await productionEnvironment(database.url, twilio);
    const worker = await productionEnvironment(database.url, twilio);
    twilio.webhookBaseUrl = web.PUBLIC_BASE_URL;
    const processes = [
      new SpawnedApp('main.js', { env: { ...web, ...sampled, ROLE: 'web' } }),
      new SpawnedApp('main.js', {
        env: { ...worker, PUBLIC_BASE_URL: web.PUBLIC_BASE_URL, ...sampled, ROLE: 'worker' },
      }),
    ];
    await Promise.all([
      processes[0]?.ready(web.PUBLIC_BASE_URL),
      processes[1]?.ready(`http://127.0.0.1:${worker['PORT']}`),
    ]);
    await onboard(web.PUBLIC_BASE_URL, { numbers: [BUSINESS] });
    const call = await twilio.placeCall({ from: CALLER, to: BUSINESS });
    correlationId = String(call.headers['x-correlation-id']);
    await twilio.messageTo(CALLER);
    await twilio.inboundSms({ from: CALLER, to: BUSINESS, body: 'Is tomorrow at nine free?' });
    // A dispatch ends after everything it caused, so the tracker's is the last of the journey.
    // The text has its own, in a trace of its own.
    const ofTheCall = () => {
      const [webhook] = collector.named('webhook.twilio.voice');
      return collector.named('reporting.first_response').filter(({ traceId }) => traceId === webhook?.traceId);
    };
    const haveArrived = () => {
      if (ofTheCall().length >= 2 && collector.named('webhook.twilio.sms_inbound').length >= 1) return;
      throw new Error(`of ${collector.spans.map(({ name, traceId }) => `${traceId.slice(-4)} ${name}`).join(', ')}`);
    };
    await eventually(haveArrived, { label: 'the spans have arrived' });
    await Promise.all(processes.map((process) => process.kill('SIGTERM')));
    const webhook = collector.named('webhook.twilio.voice')[0];
    trace = collector.spans.filter((span) => span.traceId === webhook?.traceId);
  });
  afterAll(async () => {
    await killAllSpawned();
    await collector.stop();
    await twilio.stop();
    await database.drop();
  });

  function one(name: string, where: (span: CollectedSpan) => boolean = () => true): CollectedSpan {
    const [span, ...more] = trace.filter((candidate) => candidate.name === name && where(candidate));
    if (!span || more.length > 0) throw new Error(`${name}: ${more.length + (span ? 1 : 0)} spans instead of one`);
    return span;
  }

  function ancestors(span: CollectedSpan): string[] {
    const parent = trace.find(({ spanId }) => spanId === span.parentSpanId);
    return parent ? [parent.name, ...ancestors(parent)] : [];
  }

  it('has the specified spans, each below what caused it, across two processes', () => {
    expect(ancestors(one('twilio.messages.create'))).toEqual([
      'conversation.first_reply',
      'outbox.dispatch',
      'outbox.write',
      'webhook.twilio.voice',
      'POST /webhooks/twilio/voice',
    ]);
  });

  it('goes on to the tracker that closes the first response', () => {
    const tracker = trace.filter(({ name }) => name === 'reporting.first_response');
    expect(tracker.map((span) => ancestors(span).filter((name) => name === 'outbox.dispatch').length).sort()).toEqual([
      1, 2,
    ]);
  });

  it('carries the journey on every span of ours, and the event on those that handle one', () => {
    const ours = trace.filter(({ name }) => /^(webhook|outbox|conversation|reporting|twilio)\./.test(name));
    expect(ours.length).toBeGreaterThanOrEqual(8);
    for (const { name, attributes } of ours) {
      expect([name, attributes['correlation_id']]).toEqual([name, correlationId]);
      expect([name, attributes['tenant_id']]).toEqual([name, expect.any(String)]);
    }
    expect(one('conversation.first_reply').attributes['event_id']).toEqual(expect.any(String));
    const dispatch = trace.find(({ spanId }) => spanId === one('conversation.first_reply').parentSpanId);
    expect(dispatch?.attributes).toMatchObject({
      'messaging.system': 'postgres_outbox',
      'messaging.destination.name': 'nmc.telephony.CallDetected',
      'messaging.message.conversation_id': correlationId,
      'nmc.outbox.attempt': expect.anything(),
    });
  });

  it('shows the statements of the webhook, and no number in any span', () => {
    expect(trace.filter(({ name }) => name.startsWith('pg.query')).length).toBeGreaterThan(5);
    const everything = collector.spans.map(({ raw }) => raw).join('\n');
    expect(everything).not.toContain(CALLER.slice(1));
    expect(everything).not.toContain(BUSINESS.slice(1));
  });

  it('speaks OpenTelemetry: kinds and attributes by the conventions, statements without their values', () => {
    const kinds = { INTERNAL: 1, SERVER: 2, CLIENT: 3, CONSUMER: 5 };
    const server = one('POST /webhooks/twilio/voice');
    expect(server.kind).toBe(kinds.SERVER);
    expect(server.attributes).toMatchObject({
      'http.request.method': 'POST',
      'http.route': '/webhooks/twilio/voice',
      'http.response.status_code': 200,
      'url.path': '/webhooks/twilio/voice',
      'url.scheme': 'http',
    });
    const dispatches = trace.filter(({ name }) => name === 'outbox.dispatch');
    expect(dispatches.length).toBeGreaterThanOrEqual(3);
    for (const { kind, attributes } of dispatches) {
      expect(kind).toBe(kinds.CONSUMER);
      expect(attributes).toMatchObject({
        'messaging.system': 'postgres_outbox',
        'messaging.operation.name': 'dispatch',
        'messaging.operation.type': 'process',
        'messaging.destination.name': expect.stringMatching(/^nmc\./),
        'messaging.message.id': expect.any(String),
        event_id: expect.any(String),
      });
    }
    const provider = one('twilio.messages.create');
    expect([provider.kind, provider.attributes['peer.service']]).toEqual([kinds.CLIENT, 'twilio']);
    const request = trace.find(({ parentSpanId }) => parentSpanId === provider.spanId);
    expect(request).toMatchObject({ name: 'POST', kind: kinds.CLIENT });
    expect(request?.attributes['http.response.status_code']).toBe(201);
    const statements = trace.filter(({ attributes }) => 'db.query.text' in attributes);
    for (const { attributes } of statements) {
      expect(attributes['db.system.name']).toBe('postgresql');
      expect(Object.keys(attributes).filter((key) => /parameter/.test(key))).toEqual([]);
    }
  });

  it('names the webhook of a text as specified, in the journey that the text continues', () => {
    const [text] = collector.named('webhook.twilio.sms_inbound');
    expect(text?.attributes['correlation_id']).toBe(correlationId);
  });

  it('keeps probes, polling and housekeeping out', () => {
    expect(collector.spans.filter(({ name }) => name.includes('/health'))).toEqual([]);
    const roots = collector.spans.filter(({ parentSpanId }) => parentSpanId === undefined).map(({ name }) => name);
    expect(roots.filter((name) => !/^(POST \/|cron\.)/.test(name))).toEqual([]);
  });
});

import { jest } from '@jest/globals';
import { SIMULATED_ACCOUNT } from '../../../src/demo/development.js';
import { TwilioSimulator } from '../../../src/demo/simulators/twilio/twilio-simulator.js';
import { cloneDatabase, type TestDatabase } from '../../support/database.js';
import { eventually } from '../../support/eventually.js';
import { OtlpCollector } from '../../support/otlp-collector.js';
import {
  basic,
  killAllSpawned,
  onboard,
  productionEnvironment,
  SCRAPER,
  SpawnedApp,
} from '../../support/spawned-app.js';

const BUSINESS = '+12125550151';
const HEALTHY = '+14155550182';
const UNLUCKY = '+14155550183';

jest.setTimeout(60_000);

describe('with no trace sampled at all', () => {
  let database: TestDatabase;
  let twilio: TwilioSimulator;
  let collector: OtlpCollector;
  let processes: SpawnedApp[];
  let web: Awaited<ReturnType<typeof productionEnvironment>>;

  beforeAll(async () => {
    database = await cloneDatabase();
    twilio = await TwilioSimulator.start({ ...SIMULATED_ACCOUNT });
    collector = await OtlpCollector.start();
    const unsampled = { ...collector.environment, OTEL_TRACES_SAMPLER_ARG: '0' };
    web = await productionEnvironment(database.url, twilio);
    const worker = await productionEnvironment(database.url, twilio);
    twilio.webhookBaseUrl = web.PUBLIC_BASE_URL;
    processes = [
      new SpawnedApp('main.js', { env: { ...web, ...unsampled, ROLE: 'web' } }),
      new SpawnedApp('main.js', {
        env: { ...worker, ...unsampled, PUBLIC_BASE_URL: web.PUBLIC_BASE_URL, ROLE: 'worker' },
      }),
    ];
    await processes[0]?.ready(web.PUBLIC_BASE_URL);
    await processes[1]?.ready(`http://127.0.0.1:${worker['PORT']}`);
    await onboard(web.PUBLIC_BASE_URL, { numbers: [BUSINESS] });
  });
  afterAll(async () => {
    await killAllSpawned();
    await collector.stop();
    await twilio.stop();
    await database.drop();
  });

  it('nothing that a stranger sends is exported: bad signatures, broken bodies, wrong passwords, unknown paths', async () => {
    const baseUrl = web.PUBLIC_BASE_URL;
    const webhookUrl = `${baseUrl}/webhooks/twilio/voice`;
    const form = { AccountSid: SIMULATED_ACCOUNT.accountSid, From: HEALTHY, To: BUSINESS, CallSid: 'CA1' };
    for (let n = 0; n < 200; n++) {
      const { status } = await twilio.signedPost(webhookUrl, { ...form, CallSid: `CA${n}` }, { forge: true });
      expect(status).toBe(403);
    }
    for (const [path, init] of [
      ['/webhooks/twilio/voice', { method: 'POST', body: '{"', headers: { 'content-type': 'application/json' } }],
      ['/ops/api/tenants', { method: 'POST', headers: basic({ username: 'ops', password: 'ops' }) }],
      ['/nowhere', { headers: { traceparent: `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01` } }],
    ] as const) {
      expect((await fetch(`${baseUrl}${path}`, init)).status).toBeGreaterThanOrEqual(400);
    }
    const metrics = await (await fetch(`${baseUrl}/metrics`, { headers: basic(SCRAPER) })).text();
    expect(metrics).toMatch(/^webhook_signature_failures_total\{provider="twilio"\} 200$/m);
    expect(metrics).not.toMatch(/^trace_promotions_total\{.*\} [1-9]/m);
    expect(collector.spans).toEqual([]);
  });

  // After the flood: what is exported in the end shows that nothing of it was.
  it('an error in the worker brings the whole trace, the webhook of the other process included, and nothing else', async () => {
    await twilio.placeCall({ from: HEALTHY, to: BUSINESS });
    const healthy = await twilio.messageTo(HEALTHY);
    await twilio.callbackFor(healthy.sid, 'delivered');

    twilio.faults.next('status_500', { to: UNLUCKY });
    const call = await twilio.placeCall({ from: UNLUCKY, to: BUSINESS });
    const correlation = String(call.headers['x-correlation-id']);
    await eventually(
      () => {
        expect(collector.named('webhook.twilio.voice')).toHaveLength(1);
        expect(collector.named('twilio.messages.create')).toHaveLength(1);
        expect(collector.named('conversation.first_reply')).toHaveLength(1);
      },
      { label: 'both halves have arrived', deadlineMs: 30_000 },
    );
    await Promise.all(processes.map((process) => process.kill('SIGTERM')));

    expect(new Set(collector.spans.map(({ traceId }) => traceId)).size).toBe(1);
    const ours = collector.spans.filter(({ attributes }) => attributes['correlation_id'] !== undefined);
    expect(new Set(ours.map(({ attributes }) => attributes['correlation_id']))).toEqual(new Set([correlation]));
    // Whole: every parent is there, up to the one request that began it.
    const ids = new Set(collector.spans.map(({ spanId }) => spanId));
    const orphans = collector.spans.filter(({ parentSpanId }) => parentSpanId === undefined || !ids.has(parentSpanId));
    expect(orphans.map(({ name }) => name)).toEqual(['POST /webhooks/twilio/voice']);
    const reasons = new Set(collector.spans.map(({ attributes }) => attributes['sampling.reason']));
    expect(reasons).toContain('error');
    expect(reasons).toContain('elsewhere');
  });
});

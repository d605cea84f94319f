import { jest } from '@jest/globals';
import { SIMULATED_ACCOUNT } from '../../../src/demo/development.js';
import { TwilioSimulator } from '../../../src/demo/simulators/twilio/twilio-simulator.js';
import { cloneDatabase, type TestDatabase } from '../../support/database.js';
import { eventually } from '../../support/eventually.js';
import { OtlpCollector } from '../../support/otlp-collector.js';
import { killAllSpawned, onboard, productionEnvironment, SpawnedApp } from '../../support/spawned-app.js';

const BUSINESS = '+12125550151';
const HEALTHY = '+14155550182';
const UNLUCKY = '+14155550183';

jest.setTimeout(60_000);

describe('with no trace sampled at all', () => {
  let database: TestDatabase;
  let twilio: TwilioSimulator;
  let collector: OtlpCollector;
  let processes: SpawnedApp[];

  beforeAll(async () => {
    database = await cloneDatabase();
    twilio = await TwilioSimulator.start({ ...SIMULATED_ACCOUNT });
    collector = await OtlpCollector.start();
    const unsampled = { ...collector.environment, OTEL_TRACES_SAMPLER_ARG: '0' };
    const web = await productionEnvironment(database.url, twilio);
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

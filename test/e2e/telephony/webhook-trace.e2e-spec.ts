import { SIMULATED_ACCOUNT } from '../../../src/demo/development.js';
import { newSid } from '../../../src/demo/simulators/twilio/ledger.js';
import { freePort } from '../../support/free-port.js';
import { SpawnedApp } from '../../support/spawned-app.js';
import { TestApp } from '../../support/test-app.js';

const BUSINESS = '+12125550170';
const STRANGERS_TRACE = 'deadbeefdeadbeefdeadbeefdeadbeef';

describe('a webhook that brings a trace of its own', () => {
  let app: TestApp;
  let instrumented: SpawnedApp;
  let baseUrl: string;
  beforeAll(async () => {
    app = await TestApp.start({ env: { ROLE: 'web' } });
    await app.onboard({ numbers: [BUSINESS] });
    const port = await freePort();
    baseUrl = `http://127.0.0.1:${port}`;
    instrumented = new SpawnedApp('main.js', {
      env: {
        NODE_ENV: 'development',
        // Without an exporter there is no tracing at all; nobody listens on the discard port.
        OTEL_EXPORTER_OTLP_ENDPOINT: 'http://127.0.0.1:9',
        HOST: '127.0.0.1',
        PORT: String(port),
        PUBLIC_BASE_URL: baseUrl,
        DATABASE_URL: app.databaseUrl,
        TWILIO_ACCOUNT_SID: SIMULATED_ACCOUNT.accountSid,
        TWILIO_AUTH_TOKEN: SIMULATED_ACCOUNT.authToken,
        TWILIO_API_BASE_URL: app.twilio.baseUrl,
      },
    });
    await instrumented.ready(baseUrl);
  }, 40_000);
  afterAll(async () => {
    await instrumented?.kill('SIGKILL');
    await app.stop();
  });

  it('starts a trace of ours: whoever sent it does not choose what we sample', async () => {
    const form = {
      AccountSid: SIMULATED_ACCOUNT.accountSid,
      CallSid: newSid('CA'),
      CallStatus: 'ringing',
      From: '+14155550198',
      To: BUSINESS,
    };
    const headers = { traceparent: `00-${STRANGERS_TRACE}-00f067aa0ba902b7-01`, tracestate: 'evil=1', baggage: 'a=b' };
    const answer = await app.twilio.signedPost(`${baseUrl}/webhooks/twilio/voice`, form, { headers });
    expect(answer.status).toBe(200);
    const recorded = await app.row<{ traceparent: string }>(
      `select traceparent from infra.outbox_events where event_name = 'nmc.telephony.CallDetected'`,
    );
    expect(recorded?.traceparent).toMatch(/^00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]$/);
    expect(recorded?.traceparent).not.toContain(STRANGERS_TRACE);
  });
});

import { randomBytes } from 'node:crypto';
import { getExpectedTwilioSignature } from 'twilio/lib/webhooks/webhooks.js';
import { SIMULATED_ACCOUNT } from '../../../src/demo/development.js';
import { newSid } from '../../../src/demo/simulators/twilio/ledger.js';
import { eventually } from '../../support/eventually.js';
import { TestApp } from '../../support/test-app.js';

const KEY = randomBytes(32).toString('base64');
const BUSINESS = '+12125550101';
const OWN_BUSINESS = '+13125550102';
const STRANGERS_ACCOUNT = `AC${'9'.repeat(32)}`;
const OWN = { accountSid: `AC${'a'.repeat(32)}`, authToken: 'the-subaccounts-own-token' };
const OWN_ACCOUNT = { account_sid: OWN.accountSid, auth_token: OWN.authToken };

let app: TestApp;

beforeAll(async () => {
  app = await TestApp.start({ env: { CREDENTIALS_KEY: KEY } });
  await app.onboard({ numbers: [BUSINESS], voice_mode: 'dial_owner', owner_phone: '+12125550199' });
  await app.onboard({ name: 'Own Account Inc', numbers: [OWN_BUSINESS], twilio_account: OWN_ACCOUNT });
  app.twilio.addAccount(OWN.accountSid, OWN.authToken);
});
afterAll(() => app.stop());

function voiceForm(overrides: Record<string, string> = {}): Record<string, string> {
  return {
    AccountSid: SIMULATED_ACCOUNT.accountSid,
    CallSid: newSid('CA'),
    CallStatus: 'ringing',
    From: '+14155550140',
    To: BUSINESS,
    ...overrides,
  };
}

describe('a webhook that Twilio did not sign', () => {
  const platform = SIMULATED_ACCOUNT.authToken;

  it.each([
    ['voice', 'voice', { CallStatus: 'ringing' }],
    ['dial-result', 'dial_result', { DialCallStatus: 'no-answer' }],
    ['voice-status', 'voice_status', { CallStatus: 'no-answer' }],
    ['sms-inbound', 'sms_inbound', { MessageSid: newSid('SM'), Body: 'STOP' }],
    ['sms-status', 'sms_status', { MessageSid: newSid('SM'), MessageStatus: 'delivered' }],
  ] as const)('is refused at %s with 403, counted, and writes nothing', async (path, endpoint, specific) => {
    const url = `${app.baseUrl}/webhooks/twilio/${path}`;
    const failures = 'webhook_signature_failures_total{provider="twilio"}';
    const durations = `webhook_handler_duration_ms_count{provider="twilio",endpoint="${endpoint}",status="403"}`;
    const before = { rows: await app.written(), failures: await app.metric(failures) };

    for (const forge of [true, 'missing'] as const) {
      const answer = await app.twilio.signedPost(url, voiceForm(specific), { forge });
      expect(answer.status).toBe(403);
      expect(answer.headers['content-type']).toContain('application/problem+json');
      expect(JSON.parse(answer.body)).toMatchObject({ status: 403, code: 'webhook.bad_signature' });
    }

    expect(await app.written()).toEqual(before.rows);
    expect(await app.metric(failures)).toBe((before.failures ?? 0) + 2);
    await eventually(async () => expect(await app.metric(durations)).toBe(2), {
      label: 'both refusals are measured',
    });
  });

  it.each([
    ['an account that nobody has', { AccountSid: STRANGERS_ACCOUNT }, platform],
    ['no account', { AccountSid: '' }, platform],
    ['the platform, by the token of a subaccount', {}, OWN.authToken],
    ['a subaccount, by the token of the platform', { AccountSid: OWN.accountSid, To: OWN_BUSINESS }, platform],
  ])('is refused when it names %s', async (_whom, overrides, token) => {
    const before = await app.written();
    const answer = await app.twilio.signedPost(`${app.baseUrl}/webhooks/twilio/voice`, voiceForm(overrides), { token });
    expect(answer.status).toBe(403);
    expect(await app.written()).toEqual(before);
  });

  it('is refused when one parameter or the path is another than was signed', async () => {
    const before = await app.written();
    const url = `${app.baseUrl}/webhooks/twilio/voice`;
    const form = voiceForm();
    const signed = (address: string, parameters: Record<string, string>) => ({
      headers: { 'X-Twilio-Signature': getExpectedTwilioSignature(platform, address, parameters) },
    });
    const others = [
      signed(url, { ...form, To: OWN_BUSINESS }),
      signed(url, { ...form, Added: '1' }),
      signed(`${app.baseUrl}/webhooks/twilio/voice-status`, form),
      signed(`${url}?m=1`, form),
    ];
    for (const options of others) expect((await app.twilio.signedPost(url, form, options)).status).toBe(403);
    expect(await app.written()).toEqual(before);
    expect((await app.twilio.signedPost(url, form, signed(url, form))).status).toBe(200);
  });
});

describe('the signed address', () => {
  const PUBLIC = 'https://nmc.example';
  let proxied: TestApp;
  beforeAll(async () => {
    proxied = await TestApp.start({ beside: app, env: { PUBLIC_BASE_URL: PUBLIC } });
    for (const origin of [PUBLIC, 'https://evil.example']) app.twilio.route(origin, proxied.baseUrl);
  });
  afterAll(() => proxied.stop());
  const forwarded = (host: string) => ({
    'X-Forwarded-Host': host,
    'X-Forwarded-Proto': 'https',
    Forwarded: `host=${host};proto=https`,
    'X-Original-Host': host,
  });

  it('is the public one, whatever Host and forwarding headers say', async () => {
    const url = `${PUBLIC}/webhooks/twilio/voice`;
    const inbound: Record<string, string>[] = [{}, { Host: '10.0.0.7:3000' }, forwarded('evil.example')];
    for (const headers of inbound) {
      expect((await app.twilio.signedPost(url, voiceForm(), { headers })).status).toBe(200);
    }
  });

  it('is no other one, whatever Host and forwarding headers say', async () => {
    const before = await app.written();
    const others = ['https://evil.example', proxied.baseUrl, app.baseUrl];
    for (const [index, origin] of others.entries()) {
      if (index === 2) app.twilio.route(app.baseUrl, proxied.baseUrl);
      const host = new URL(origin).host;
      for (const headers of [{}, forwarded(host)]) {
        const answer = await app.twilio.signedPost(`${origin}/webhooks/twilio/voice`, voiceForm(), { headers });
        expect([origin, answer.status]).toEqual([origin, 403]);
      }
    }
    app.twilio.route(app.baseUrl, app.baseUrl);
    expect(await app.written()).toEqual(before);
  });
});

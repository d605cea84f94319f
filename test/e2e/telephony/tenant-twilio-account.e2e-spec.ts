import { randomBytes } from 'node:crypto';
import { SIMULATED_ACCOUNT } from '../../../src/demo/development.js';
import { newSid } from '../../../src/demo/simulators/twilio/ledger.js';
import { TestApp } from '../../support/test-app.js';

const KEY = randomBytes(32).toString('base64');
const BUSINESS = '+12125550103';
const OWN_BUSINESS = '+13125550104';
const OWN = { accountSid: `AC${'a'.repeat(32)}`, authToken: 'the-subaccounts-own-token' };
const OWN_ACCOUNT = { account_sid: OWN.accountSid, auth_token: OWN.authToken };
const NEXT_TOKEN = 'the-subaccounts-next-token';
const SECRETS = [OWN.authToken, NEXT_TOKEN, KEY];

let app: TestApp;
let ownTenant: string;

beforeAll(async () => {
  app = await TestApp.start({ env: { CREDENTIALS_KEY: KEY, LOG_LEVEL: 'trace' } });
  await app.onboard({ numbers: [BUSINESS], voice_mode: 'dial_owner', owner_phone: '+12125550199' });
  ownTenant = await app.onboard({ name: 'Own Account Inc', numbers: [OWN_BUSINESS], twilio_account: OWN_ACCOUNT });
  app.twilio.addAccount(OWN.accountSid, OWN.authToken);
});
afterAll(() => app.stop());

describe('a tenant with a Twilio account of its own', () => {
  it('is called and texts through that account', async () => {
    const caller = '+14155550141';
    const call = await app.twilio.placeCall({ from: caller, to: OWN_BUSINESS, accountSid: OWN.accountSid });
    expect(call.status).toBe(200);
    const text = await app.twilio.messageTo(caller);
    expect(text).toMatchObject({ accountSid: OWN.accountSid, from: OWN_BUSINESS });
    const callback = await app.twilio.callbackFor(text.sid, 'delivered');
    expect(callback.result?.status).toBe(200);
    expect(
      await app.row('select state, account_sid from telephony.messages where message_sid = $1', [text.sid]),
    ).toEqual({ state: 'delivered', account_sid: OWN.accountSid });
  });

  it('is not spoken for by the platform, nor another tenant by its token', async () => {
    const caller = '+14155550142';
    const before = await app.written();
    const foreign = [
      { from: caller, to: OWN_BUSINESS },
      { from: caller, to: BUSINESS, accountSid: OWN.accountSid },
    ];
    for (const options of foreign) {
      expect((await app.twilio.placeCall(options)).twiml).toContain('<Hangup/>');
      await app.twilio.voiceStatus({ ...options, callSid: newSid('CA'), callStatus: 'no-answer' });
      expect((await app.twilio.inboundSms({ ...options, body: 'STOP' })).status).toBe(200);
    }
    expect(await app.written()).toEqual({ ...before, webhooks: (before['webhooks'] ?? 0) + 6 });
    expect(app.twilio.ledger.messagesTo(caller)).toEqual([]);
  });

  it('cannot decide the call of another tenant, nor take its CallSid first', async () => {
    const callSid = newSid('CA');
    const [caller, own] = ['+14155550143', { accountSid: OWN.accountSid }];
    await app.twilio.placeCall({ from: '+14155550144', to: OWN_BUSINESS, callSid, ...own });
    const genuine = await app.twilio.placeCall({ from: caller, to: BUSINESS, callSid });
    expect(genuine.twiml).toContain('<Dial');
    for (const to of [OWN_BUSINESS, BUSINESS]) {
      await app.twilio.voiceStatus({ from: caller, to, callSid, callStatus: 'no-answer', ...own });
      await app.twilio.dialResult({ from: caller, to, callSid, dialCallStatus: 'completed', ...own });
    }
    expect(
      await app.row(
        'select caller, decision, answered_at from telephony.calls where call_sid = $1 and called_number = $2',
        [callSid, BUSINESS],
      ),
    ).toEqual({ caller, decision: null, answered_at: null });
    await app.twilio.dialResult({ from: caller, to: BUSINESS, callSid, dialCallStatus: 'no-answer' });
    expect((await app.twilio.messageTo(caller)).accountSid).toBe(SIMULATED_ACCOUNT.accountSid);
  });

  it('cannot report on the text of another tenant', async () => {
    const caller = '+14155550145';
    app.twilio.outcome(caller, { status: 'sent' });
    await app.twilio.playCall({ from: caller, to: BUSINESS });
    const text = await app.twilio.messageTo(caller);
    await app.twilio.callbackFor(text.sid, 'sent');
    const report = { AccountSid: OWN.accountSid, MessageSid: text.sid, MessageStatus: 'failed', ErrorCode: '30007' };
    const posted = await app.twilio.signedPost(text.params['StatusCallback'] ?? '', report, {
      accountSid: OWN.accountSid,
    });
    expect(posted.status).toBe(200);
    const stateOf = () =>
      app.row('select state, error_code from telephony.messages where message_sid = $1', [text.sid]);
    expect(await stateOf()).toEqual({ state: 'sent', error_code: null });
    await app.twilio.signedPost(text.params['StatusCallback'] ?? '', {
      ...report,
      AccountSid: SIMULATED_ACCOUNT.accountSid,
    });
    expect(await stateOf()).toEqual({ state: 'failed', error_code: 30007 });
  });

  it('changes its token, and the old one counts no more', async () => {
    const rotated = { account_sid: OWN.accountSid, auth_token: NEXT_TOKEN };
    await app.http
      .patch(`/ops/api/tenants/${ownTenant}`)
      .auth('ops', 'ops')
      .send({ twilio_account: rotated })
      .expect(200);
    const call = { from: '+14155550146', to: OWN_BUSINESS, accountSid: OWN.accountSid };
    expect((await app.twilio.placeCall(call)).status).toBe(403);
    app.twilio.addAccount(OWN.accountSid, rotated.auth_token);
    expect((await app.twilio.placeCall(call)).status).toBe(200);
    expect((await app.twilio.messageTo(call.from)).accountSid).toBe(OWN.accountSid);
  });

  it('is refused, and nothing of it kept, while there is no key to seal its token', async () => {
    const keyless = await TestApp.start({ beside: app });
    const account = { account_sid: `AC${'b'.repeat(32)}`, auth_token: 'a-token-nobody-may-keep' };
    const tenant = { name: 'Keyless Inc', time_zone: 'UTC', numbers: ['+13125550105'], voice_mode: 'forward_target' };
    const refusal = await keyless.http
      .post('/ops/api/tenants')
      .auth('ops', 'ops')
      .send({ ...tenant, twilio_account: account });
    await keyless.stop();
    expect(refusal.status).toBe(422);
    expect(refusal.body).toMatchObject({ code: 'telephony.credentials_key_missing' });
    expect(JSON.stringify(refusal.body)).not.toContain(account.auth_token);
    expect(await app.row(`select 1 from infra.tenants where name = 'Keyless Inc'`)).toBeUndefined();
  });

  it('has its token nowhere in the database and nowhere in the log', async () => {
    const { rows: tables } = await app.db.query<{ name: string }>(`
      select format('%I.%I', table_schema, table_name) as name from information_schema.tables
      where table_type = 'BASE TABLE' and table_schema not in ('pg_catalog', 'information_schema')`);
    const holding = async (secret: string) => {
      const spellings = [secret, Buffer.from(secret).toString('hex'), Buffer.from(secret).toString('base64')];
      const found: string[] = [];
      for (const { name } of tables) {
        const hit = await app.row(`select 1 from ${name} t where t::text like any ($1)`, [
          spellings.map((s) => `%${s}%`),
        ]);
        if (hit) found.push(name);
      }
      return found;
    };
    expect(await holding('Own Account Inc')).toContain('infra.tenants');
    for (const secret of SECRETS) expect(await holding(secret)).toEqual([]);
    const log = JSON.stringify(app.log);
    expect(log).toContain(OWN.accountSid);
    for (const secret of SECRETS) expect(log).not.toContain(secret);
    expect(log).not.toContain(Buffer.from(`${OWN.accountSid}:${OWN.authToken}`).toString('base64'));
  });
});

import { randomBytes, randomUUID } from 'node:crypto';
import { BUSINESS_NUMBER, TestApp } from '../../support/test-app.js';

const ACCOUNT = { account_sid: `AC${'5'.repeat(32)}`, auth_token: 'their-own-token' };

describe('onboarding', () => {
  let app: TestApp;
  let tenantId: string;
  beforeAll(async () => {
    app = await TestApp.start({ env: { CREDENTIALS_KEY: randomBytes(32).toString('base64') } });
    tenantId = await app.onboard();
  });
  afterAll(() => app.stop());

  const valid = {
    name: 'Acme Heating',
    time_zone: 'America/Chicago',
    numbers: ['+13125550101'],
    voice_mode: 'forward_target',
  };
  const create = (body: object) => app.http.post('/ops/api/tenants').auth('ops', 'ops').send(body);
  const change = (id: string, body: object) => app.http.patch(`/ops/api/tenants/${id}`).auth('ops', 'ops').send(body);

  async function count(): Promise<number> {
    const row = await app.row<{ n: number }>('select count(*)::int as n from infra.tenants');
    return row?.n ?? -1;
  }

  it('is for operators only', async () => {
    await app.http
      .post('/ops/api/tenants')
      .send(valid)
      .expect(401)
      .expect('www-authenticate', /^Basic /);
    await app.http.post('/ops/api/tenants').auth('ops', 'wrong').send(valid).expect(401);
  });

  it('gives a number to one tenant only, and leaves nothing of a refused one', async () => {
    const before = await count();
    const response = await create({ ...valid, numbers: ['+13125550199', BUSINESS_NUMBER] }).expect(409);
    expect(response.headers['content-type']).toContain('application/problem+json');
    expect(response.body).toMatchObject({ code: 'telephony.number_taken', numbers: [BUSINESS_NUMBER] });
    expect(await count()).toBe(before);
  });

  it('frees a number that its tenant gives up', async () => {
    const first = await create({ ...valid, numbers: ['+13125550110', '+13125550111'] }).expect(201);
    await change(first.body.tenant_id, { numbers: ['+13125550110'] }).expect(200);
    await create({ ...valid, numbers: ['+13125550111'] }).expect(201);
    await change(first.body.tenant_id, { numbers: ['+13125550110', '+13125550111'] }).expect(409);
  });

  it('registers nobody by itself, and changes only what is given', async () => {
    const created = await create({ ...valid, numbers: ['+13125550120'] }).expect(201);
    const id = created.body.tenant_id as string;
    const status = () => app.row('select a2p_status from compliance.registrations where tenant_id = $1', [id]);
    expect(await status()).toEqual({ a2p_status: 'none' });
    await change(id, { a2p_status: 'approved', repeat_window_minutes: 5 }).expect(200);
    expect(await status()).toEqual({ a2p_status: 'approved' });
    const row = await app.row(
      'select name, voice_mode, repeat_window_minutes from infra.tenants join telephony.lines using (tenant_id) where tenant_id = $1',
      [id],
    );
    expect(row).toEqual({ name: 'Acme Heating', voice_mode: 'forward_target', repeat_window_minutes: 5 });
  });

  it('needs somebody to ring before it dials', async () => {
    const answer = await create({ ...valid, numbers: ['+13125550130'], voice_mode: 'dial_owner' }).expect(422);
    expect(answer.body.code).toBe('telephony.owner_phone_required');
    await change(tenantId, { voice_mode: 'dial_owner' }).expect(422);
    await create({ ...valid, numbers: ['+13125550131'], voice_mode: 'dial_owner', owner_phone: '+13125550999' }).expect(
      201,
    );
  });

  it('says everything that is wrong with a first reply, and keeps none of it', async () => {
    const answer = await change(tenantId, { name: 'Renamed', first_reply_template: 'Call us at {phone} 🙂' }).expect(
      422,
    );
    expect(answer.body.code).toBe('conversation.bad_template');
    expect(answer.body.problems.length).toBeGreaterThan(2);
    expect(await app.row('select name from infra.tenants where tenant_id = $1', [tenantId])).toEqual({
      name: "Joe's Plumbing",
    });
  });

  it('keeps accounts apart: not the platform’s, not another tenant’s', async () => {
    await create({ ...valid, numbers: ['+13125550140'], twilio_account: ACCOUNT }).expect(201);
    const taken = await create({ ...valid, numbers: ['+13125550141'], twilio_account: ACCOUNT }).expect(409);
    expect(taken.body.code).toBe('telephony.account_taken');
    const platform = { ...ACCOUNT, account_sid: `AC${'0'.repeat(31)}1` };
    await create({ ...valid, numbers: ['+13125550142'], twilio_account: platform }).expect(409);
  });

  it.each([
    ['no name', { name: ' ' }, 'name'],
    ['a time zone nobody knows', { time_zone: 'Mars/Olympus' }, 'time_zone'],
    ['a number that is not E.164', { numbers: ['415-555-0132'] }, 'numbers.0'],
    ['the same number twice', { numbers: ['+13125550150', '+13125550150'] }, 'numbers'],
    ['no number', { numbers: [] }, 'numbers'],
    ['an unknown voice mode', { voice_mode: 'ring' }, 'voice_mode'],
    ['an unknown registration', { a2p_status: 'maybe' }, 'a2p_status'],
    [
      'hours that are none',
      { first_reply_quiet_hours: { start: '25:00', end: '08:00' } },
      'first_reply_quiet_hours.start',
    ],
    ['a misspelt field', { ownerphone: '+13125550999' }, ''],
  ])('refuses %s by field and rule', async (_what, change, field) => {
    const answer = await create({ ...valid, ...change }).expect(400);
    expect(answer.body.code).toBe('request.invalid');
    expect(answer.body.problems).toEqual([{ field, message: expect.any(String) }]);
  });

  it('refuses what is not JSON, and ids that are nobody’s', async () => {
    await app.http.post('/ops/api/tenants').auth('ops', 'ops').type('json').send('{"name":').expect(400);
    await change(randomUUID(), { name: 'X' }).expect(404);
    await change('not-an-id', { name: 'X' }).expect(404);
  });
});

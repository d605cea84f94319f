import type { CallOptions } from '../../../src/demo/simulators/twilio/calls.js';
import { newSid } from '../../../src/demo/simulators/twilio/ledger.js';
import { eventually } from '../../support/eventually.js';
import { TestApp } from '../../support/test-app.js';

const BUSINESS = '+12125550140';
const SECOND_NUMBER = '+12125550141';
const OWNER = '+12125550142';
const NEIGHBOUR = '+13125550143';

let app: TestApp;
let tenant: string;
let neighbour: string;

beforeAll(async () => {
  app = await TestApp.start();
  tenant = await app.onboard({ numbers: [BUSINESS, SECOND_NUMBER], owner_phone: OWNER });
  neighbour = await app.onboard({ name: 'Next Door Heating', numbers: [NEIGHBOUR] });
});
afterAll(() => app.stop());

async function settled(): Promise<void> {
  await eventually(async () => (await app.row('select 1 from infra.outbox_deliveries')) === undefined, {
    label: 'the outbox is empty',
  });
}

interface Fate {
  decision: string;
  reason: string | null;
  excluded_reason: string | null;
  texted: boolean;
}

/** What was decided of a call, what the tracker thinks of it, and whether a text was ever asked for. */
async function fateOf(callSid: string): Promise<Fate | undefined> {
  await settled();
  return app.row<Fate>(
    `select decision, reason, excluded_reason,
       exists (select 1 from telephony.messages where trigger_id = call_id) as texted
     from telephony.calls left join reporting.first_responses on trigger_id = call_id where call_sid = $1`,
    [callSid],
  );
}
const REPLIED: Fate = { decision: 'reply', reason: null, excluded_reason: null, texted: true };
const suppressed = (reason: string): Fate => ({ decision: 'suppress', reason, excluded_reason: reason, texted: false });

const counted = (reason: string) => app.metric(`telephony_replies_suppressed_total{reason="${reason}"}`);

/** A missed call that must not be answered, for this reason and no other. */
async function expectSuppressed(reason: string, call: Omit<CallOptions, 'to'> & { to?: string }): Promise<void> {
  const before = { counted: await counted(reason), sent: app.twilio.ledger.requests.length };
  const { status, twiml, callSid } = await app.twilio.placeCall({ to: BUSINESS, ...call });
  expect(status).toBe(200);
  expect(twiml).toContain('Please try again later');
  expect(await fateOf(callSid)).toEqual(suppressed(reason));
  expect(await counted(reason)).toBe((before.counted ?? Number.NaN) + 1);
  expect(app.twilio.ledger.requests).toHaveLength(before.sent);
}

describe('nobody is texted who', () => {
  it.each([
    ['withholds the number: no number at all', '', 'withheld'],
    ['withholds the number: anonymous', 'anonymous', 'withheld'],
    ['withholds the number: Restricted', 'Restricted', 'withheld'],
    ['withholds the number: a SIP address', 'sip:anonymous@anonymous.invalid', 'withheld'],
    ['withholds the number: ANONYMOUS in digits', '+266696687', 'withheld'],
    ['withholds the number: RESTRICTED in digits', '+7378742833', 'withheld'],
    ['withholds the number: BLOCKED in digits', '+2562533', 'withheld'],
    ['withholds the number: UNKNOWN in digits', '+8656696', 'withheld'],
    ['withholds the number: UNAVAILABLE in digits', '+86282452253', 'withheld'],
    ['withholds the number: ANONYMOUS in digits, no plus', '266696687', 'withheld'],
    ['is a short code', '72345', 'short_code'],
    ['is a name', 'ACME-ALERTS', 'alphanumeric'],
    ['is a toll-free business', '+18005550144', 'toll_free'],
    ['is a newer toll-free business', '+18335550144', 'toll_free'],
    ['is no phone: premium rate', '+19005550144', 'not_a_phone'],
    ['is no phone: a client', 'client:jane_the_plumber_of_town', 'not_a_phone'],
    ['is no phone: too short', '+1415555', 'not_a_phone'],
    ['is the number that was called', BUSINESS, 'own_number'],
    ['is another number of the business', SECOND_NUMBER, 'own_number'],
    ['is the owner', OWNER, 'own_number'],
    ['is a number of another business here', NEIGHBOUR, 'platform_number'],
  ])('%s', async (_who, from, reason) => {
    await expectSuppressed(reason, { from });
  });

  it('is the phone that forwarded the call', async () => {
    await expectSuppressed('own_number', { from: '+14155550170', forwardedFrom: '+14155550170' });
  });

  it('has opted out, of this business alone', async () => {
    const from = '+14155550171';
    await app.twilio.inboundSms({ from, to: BUSINESS, body: 'STOP' });
    await settled();
    await expectSuppressed('opted_out', { from });
    const call = await app.twilio.placeCall({ from, to: NEIGHBOUR });
    expect(await fateOf(call.callSid)).toEqual(REPLIED);
  });

  it.each(['none', 'pending', 'rejected'])('calls a business whose registration is %s', async (status) => {
    const register = (a2p_status: string) =>
      app.http.patch(`/ops/api/tenants/${neighbour}`).auth('ops', 'ops').send({ a2p_status }).expect(200);
    const from = `+1415555018${status.length}`;
    await register(status);
    await expectSuppressed('not_registered', { from, to: NEIGHBOUR });
    await register('approved');
    // A suppressed call is no reply: the next one is not a repeat.
    const call = await app.twilio.placeCall({ from, to: NEIGHBOUR });
    expect(await fateOf(call.callSid)).toEqual(REPLIED);
  });
});

describe('a caller who calls again', () => {
  const urgencyOf = async (caller: string, tenantId = tenant) => {
    await settled();
    return app.row('select urgency from conversation.threads where caller = $1 and tenant_id = $2', [caller, tenantId]);
  };

  it('within the window is not texted again, but is more urgent', async () => {
    const from = '+14155550172';
    const first = await app.twilio.placeCall({ from, to: BUSINESS });
    expect(await fateOf(first.callSid)).toEqual(REPLIED);
    expect(await urgencyOf(from)).toEqual({ urgency: 0 });
    await expectSuppressed('repeat', { from });
    await expectSuppressed('repeat', { from, to: SECOND_NUMBER });
    expect(await urgencyOf(from)).toEqual({ urgency: 2 });
  });

  it('after the window is texted again', async () => {
    const from = '+14155550173';
    await app.twilio.placeCall({ from, to: BUSINESS });
    const { rowCount } = await app.db.query(
      `update telephony.reply_windows set opened_at = opened_at - interval '61 minutes' where caller = $1`,
      [from],
    );
    expect(rowCount).toBe(1);
    const again = await app.twilio.placeCall({ from, to: BUSINESS });
    expect(await fateOf(again.callSid)).toEqual(REPLIED);
    expect(app.twilio.ledger.messagesTo(from)).toHaveLength(2);
  });

  it('at the same instant gets one text', async () => {
    const from = '+14155550174';
    const sids = Array.from({ length: 4 }, () => newSid('CA'));
    const calls = await Promise.all(sids.map((callSid) => app.twilio.placeCall({ from, to: BUSINESS, callSid })));
    expect(calls.filter(({ twiml }) => twiml.includes('sending you a text message'))).toHaveLength(1);
    const fates = await Promise.all(sids.map(fateOf));
    const [repeat, reply] = [suppressed('repeat'), REPLIED];
    expect(fates.filter((fate) => fate?.decision === 'reply')).toEqual([reply]);
    expect(fates.filter((fate) => fate?.decision === 'suppress')).toEqual([repeat, repeat, repeat]);
    expect(app.twilio.ledger.messagesTo(from)).toHaveLength(1);
    expect(await urgencyOf(from)).toEqual({ urgency: 3 });
  });

  it('another business is a first caller there', async () => {
    const from = '+14155550175';
    const [here, there] = await Promise.all([
      app.twilio.placeCall({ from, to: BUSINESS }),
      app.twilio.placeCall({ from, to: NEIGHBOUR }),
    ]);
    expect([await fateOf(here.callSid), await fateOf(there.callSid)]).toEqual([REPLIED, REPLIED]);
    await expectSuppressed('repeat', { from, to: NEIGHBOUR });
    expect(
      app.twilio.ledger
        .messagesTo(from)
        .map((text) => text.from)
        .sort(),
    ).toEqual([BUSINESS, NEIGHBOUR]);
    expect(await urgencyOf(from)).toEqual({ urgency: 0 });
    expect(await urgencyOf(from, neighbour)).toEqual({ urgency: 1 });
  });
});

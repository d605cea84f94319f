import type { DialCallStatus } from '../../../src/demo/simulators/twilio/calls.js';
import { newSid } from '../../../src/demo/simulators/twilio/ledger.js';
import { firstVerb } from '../../../src/demo/simulators/twilio/twiml.js';
import { eventually } from '../../support/eventually.js';
import { TestApp } from '../../support/test-app.js';

const FORWARDED = '+12125550130';
const PUBLISHED = '+12125550131';
const OWNER = '+12125550139';

let app: TestApp;
let phones = 0;

beforeAll(async () => {
  app = await TestApp.start();
  await app.onboard({ numbers: [FORWARDED], voice_mode: 'forward_target' });
  await app.onboard({ numbers: [PUBLISHED], voice_mode: 'dial_owner', owner_phone: OWNER });
});
afterAll(() => app.stop());

function newCall(to: string) {
  phones += 1;
  return { from: `+1415555${2000 + phones}`, to, callSid: newSid('CA') };
}
type Call = ReturnType<typeof newCall>;

/** Waits until the outbox has delivered everything, then answers what became of a call. */
async function outcome({ callSid, from }: Call) {
  await eventually(async () => (await app.row('select 1 from infra.outbox_deliveries')) === undefined, {
    label: 'the outbox is empty',
  });
  const row = await app.row<{ decision: string | null; answered: boolean; detected: number }>(
    `select decision, answered_at is not null as answered, (select count(*)::int from infra.outbox_events
        where event_name = 'nmc.telephony.CallDetected' and payload ->> 'call_sid' = call_sid) as detected
     from telephony.calls where call_sid = $1`,
    [callSid],
  );
  return { ...row, texts: app.twilio.ledger.messagesTo(from).length };
}
const TEXTED = { decision: 'reply', answered: false, detected: 1, texts: 1 };
const ANSWERED = { decision: null, answered: true, detected: 0, texts: 0 };
const OPEN = { decision: null, answered: false, detected: 0, texts: 0 };

const dialResult = (call: Call, dialCallStatus: DialCallStatus) => app.twilio.dialResult({ ...call, dialCallStatus });
const noAnswer = (call: Call) => app.twilio.voiceStatus({ ...call, callStatus: 'no-answer' });

describe('a call forwarded to us', () => {
  it('was missed: the voice webhook decides it, and its end changes nothing', async () => {
    const call = newCall(FORWARDED);
    const answer = await app.twilio.placeCall(call);
    expect(answer.headers['content-type']).toContain('text/xml');
    expect(answer.twiml).toMatch(/<Say>.*sending you a text message.*<\/Say><Hangup\/>/);
    expect(await outcome(call)).toEqual(TEXTED);
    await app.twilio.voiceStatus({ ...call, callStatus: 'completed', callDuration: 9 });
    expect(await outcome(call)).toEqual(TEXTED);
  });

  it('is decided by its end when the voice webhook never came', async () => {
    const call = newCall(FORWARDED);
    await app.twilio.voiceStatus({ ...call, callStatus: 'completed', callDuration: 9 });
    expect(await outcome(call)).toEqual(TEXTED);
  });
});

describe('a call to a published number', () => {
  it('rings the owner and decides nothing yet', async () => {
    const call = newCall(PUBLISHED);
    const { twiml } = await app.twilio.placeCall(call);
    expect(twiml).toContain(`<Number>${OWNER}</Number></Dial></Response>`);
    const { name, attributes } = firstVerb(twiml) ?? {};
    const action = `${app.baseUrl}/webhooks/twilio/dial-result`;
    expect([name, attributes]).toEqual(['Dial', { action, method: 'POST', timeout: '18', answerOnBridge: 'true' }]);
    expect(await outcome(call)).toEqual(OPEN);
  });

  it.each([
    ['busy', TEXTED],
    ['no-answer', TEXTED],
    ['failed', TEXTED],
    ['canceled', TEXTED],
    ['completed', ANSWERED],
    ['answered', ANSWERED],
    ['a-status-of-tomorrow', OPEN],
  ])('is judged by the dial result %s', async (status, expected) => {
    const call = newCall(PUBLISHED);
    await app.twilio.placeCall(call);
    const result = await dialResult(call, status as DialCallStatus);
    expect(result.status).toBe(200);
    expect(result.twiml.includes('sending you a text message')).toBe(expected === TEXTED);
    expect(result.twiml).toContain('<Hangup/>');
    expect(await outcome(call)).toEqual(expected);
  });

  it.each([
    ['no-answer', TEXTED],
    ['busy', TEXTED],
    ['failed', TEXTED],
    ['canceled', TEXTED],
    ['completed', OPEN],
  ] as const)('without a dial result is judged by its end: %s', async (callStatus, expected) => {
    const call = newCall(PUBLISHED);
    await app.twilio.placeCall(call);
    await app.twilio.voiceStatus({ ...call, callStatus, callDuration: 1 });
    expect(await outcome(call)).toEqual(expected);
  });
});

describe('the webhooks of one call', () => {
  const WEBHOOKS = {
    voice: (call: Call) => app.twilio.placeCall(call),
    dial: (call: Call) => dialResult(call, 'no-answer'),
    status: noAnswer,
  };
  type Name = keyof typeof WEBHOOKS;
  const NAMES: Name[] = ['voice', 'dial', 'status'];
  const ORDERS = NAMES.flatMap((a) =>
    NAMES.flatMap((b) => NAMES.map((c) => [a, b, c] as const)).filter((order) => new Set(order).size === 3),
  );

  it.each(ORDERS.map((order) => ({ order, arrow: order.join(', ') })))(
    'lead to one decision and one text: $arrow',
    async ({ order }) => {
      const call = newCall(PUBLISHED);
      for (const name of order) expect((await WEBHOOKS[name](call)).status).toBe(200);
      expect(await outcome(call)).toEqual(TEXTED);
    },
  );

  it('lead to one decision and one text when they come at once, each of them twice', async () => {
    const calls = Array.from({ length: 8 }, () => newCall(PUBLISHED));
    const posts = calls.flatMap((call, n) => {
      const order = ORDERS[n % ORDERS.length] ?? NAMES;
      return [...order, ...order].map((name) => WEBHOOKS[name](call));
    });
    for (const { status } of await Promise.all(posts)) expect(status).toBe(200);
    for (const call of calls) expect(await outcome(call)).toEqual(TEXTED);
  });

  it('never make a missed call of an answered one', async () => {
    const call = newCall(PUBLISHED);
    await app.twilio.placeCall(call);
    await dialResult(call, 'completed');
    await noAnswer(call);
    await dialResult(call, 'no-answer');
    await app.twilio.voiceStatus({ ...call, callStatus: 'canceled' });
    await app.twilio.voiceStatus({ ...call, callStatus: 'completed', callDuration: 30 });
    expect(await outcome(call)).toEqual(ANSWERED);
  });

  it('settle it one way only when its answer and its loss are told at once', async () => {
    const calls = Array.from({ length: 8 }, () => newCall(PUBLISHED));
    await Promise.all(calls.flatMap((call) => [dialResult(call, 'completed'), noAnswer(call)]));
    for (const call of calls) expect([ANSWERED, TEXTED]).toContainEqual(await outcome(call));
  });
});

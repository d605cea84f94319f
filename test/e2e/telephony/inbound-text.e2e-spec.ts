import { newSid } from '../../../src/demo/simulators/twilio/ledger.js';
import { eventually } from '../../support/eventually.js';
import { TestApp } from '../../support/test-app.js';

const BUSINESS = '+12125550160';
const NEIGHBOUR = '+13125550161';

let app: TestApp;
let tenant: string;

beforeAll(async () => {
  app = await TestApp.start();
  tenant = await app.onboard({ numbers: [BUSINESS] });
  await app.onboard({ name: 'Next Door Heating', numbers: [NEIGHBOUR] });
});
afterAll(() => app.stop());

async function settled(): Promise<void> {
  await eventually(async () => (await app.row('select 1 from infra.outbox_deliveries')) === undefined, {
    label: 'the outbox is empty',
  });
}

const textIn = (from: string, body: string, to = BUSINESS) => app.twilio.inboundSms({ from, to, body });
const sentTo = (caller: string) => app.twilio.ledger.messagesTo(caller).length;

/** The fact that became of an inbound text. */
const received = (messageSid: string) =>
  app.row<{
    correlation_id: string;
    decision: string;
    keyword: string | null;
    message_id: string;
    reason: string | null;
  }>(
    `select correlation_id, payload ->> 'decision' as decision, payload ->> 'keyword' as keyword,
       payload ->> 'message_id' as message_id, payload ->> 'reason' as reason
     from infra.outbox_events where event_name = 'nmc.telephony.InboundSmsReceived' and payload ->> 'message_sid' = $1`,
    [messageSid],
  );
const events = async (name: string, phone: string) => {
  const { rows } = await app.db.query(
    `select tenant_id from infra.outbox_events where event_name = $1 and coalesce(payload ->> 'phone', payload ->> 'caller') = $2`,
    [name, phone],
  );
  return rows;
};
const decisionOf = (callSid: string) =>
  app.row('select decision, reason from telephony.calls where call_sid = $1', [callSid]);

describe('the first text of a stranger', () => {
  it('opens a thread and gets one first reply, which is tracked; the second gets none', async () => {
    const caller = '+14155550190';
    const { messageSid, body } = await textIn(caller, 'Do you fix boilers?');
    expect(body).toContain('<Response/>');
    const text = await app.twilio.messageTo(caller);
    expect(text).toMatchObject({ from: BUSINESS, body: expect.stringContaining('Thanks for your text!') });
    await settled();
    const fact = await received(messageSid);
    expect(fact).toMatchObject({ decision: 'reply', keyword: null, reason: null });
    expect(
      await app.row(
        `select trigger_kind, message_sid, excluded_reason, first_sms_at >= detected_at as answered
         from reporting.first_responses where trigger_id = $1 and correlation_id = $2 and tenant_id = $3`,
        [fact?.message_id, fact?.correlation_id, tenant],
      ),
    ).toEqual({ trigger_kind: 'text', message_sid: text.sid, excluded_reason: null, answered: true });
    expect(await app.row('select state from conversation.threads where caller = $1', [caller])).toEqual({
      state: 'open',
    });

    const second = await textIn(caller, 'Hello?');
    await settled();
    expect(await received(second.messageSid)).toMatchObject({ decision: 'none', correlation_id: fact?.correlation_id });
    expect(sentTo(caller)).toBe(1);
    expect(await events('nmc.conversation.ConversationStarted', caller)).toHaveLength(1);
    const { rows } = await app.db.query('select 1 from reporting.first_responses where correlation_id = $1', [
      fact?.correlation_id,
    ]);
    expect(rows).toHaveLength(1);
  });

  it('gets one first reply when it comes twice, beside another text and a missed call, all at once', async () => {
    const caller = '+14155550191';
    const text = { from: caller, to: BUSINESS, body: 'Hi', messageSid: newSid('SM') };
    const answers = await Promise.all([
      app.twilio.inboundSms(text),
      app.twilio.inboundSms(text),
      textIn(caller, 'Anybody there?'),
      app.twilio.placeCall({ from: caller, to: BUSINESS }),
    ]);
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 200, 200]);
    await app.twilio.messageTo(caller);
    await settled();
    expect(sentTo(caller)).toBe(1);
    expect(await events('nmc.telephony.InboundSmsReceived', caller)).toHaveLength(2);
    expect(await events('nmc.conversation.ConversationStarted', caller)).toHaveLength(1);
  });

  it.each([
    ['72345', 'short_code'],
    [NEIGHBOUR, 'platform_number'],
  ])('gets no reply when it comes from %s, and is excluded as %s', async (from, reason) => {
    const { messageSid } = await textIn(from, 'Your code is 1234');
    await settled();
    const fact = await received(messageSid);
    expect(fact).toMatchObject({ decision: 'suppress', reason });
    expect(
      await app.row('select excluded_reason from reporting.first_responses where trigger_id = $1', [fact?.message_id]),
    ).toEqual({ excluded_reason: reason });
    expect(sentTo(from)).toBe(0);
  });
});

describe('a text in a journey', () => {
  it('continues that of the missed call for a day', async () => {
    const caller = '+14155550192';
    const call = await app.twilio.placeCall({ from: caller, to: BUSINESS });
    await app.twilio.messageTo(caller);
    const reply = await textIn(caller, 'Yes please, tomorrow morning');
    const journey = call.headers['x-correlation-id'];
    expect(reply.headers['x-correlation-id']).toBe(journey);
    expect(await received(reply.messageSid)).toMatchObject({ correlation_id: journey, decision: 'none' });
    expect(
      await app.row('select correlation_id from telephony.webhook_events where parameters ->> $1 = $2', [
        'MessageSid',
        reply.messageSid,
      ]),
    ).toEqual({ correlation_id: journey });

    await app.db.query(
      `update telephony.messages set created_at = created_at - interval '25 hours' where caller = $1`,
      [caller],
    );
    const later = await textIn(caller, 'It drips again');
    await settled();
    const next = await received(later.messageSid);
    expect(next?.decision).toBe('none');
    expect(next?.correlation_id).not.toBe(journey);
    expect(sentTo(caller)).toBe(1);
  });

  it('is not that of the same person with another business', async () => {
    const caller = '+14155550193';
    const call = await app.twilio.placeCall({ from: caller, to: BUSINESS });
    await app.twilio.messageTo(caller);
    const elsewhere = await textIn(caller, 'Hi', NEIGHBOUR);
    const fact = await received(elsewhere.messageSid);
    expect(fact?.decision).toBe('reply');
    expect(fact?.correlation_id).not.toBe(call.headers['x-correlation-id']);
  });
});

describe('STOP', () => {
  const ledger = async (caller: string) => {
    const sql = 'select kind, basis, evidence_id from compliance.consent_ledger where phone = $1 order by entry_id';
    return (await app.db.query(sql, [caller])).rows;
  };

  it('is recorded, announced and obeyed, towards this business alone, until START', async () => {
    const caller = '+14155550194';
    const stop = await textIn(caller, ' stop. ');
    expect(await ledger(caller)).toEqual([{ kind: 'opt_out', basis: 'keyword', evidence_id: stop.messageSid }]);
    expect(await events('nmc.compliance.OptOutRecorded', caller)).toEqual([{ tenant_id: tenant }]);
    expect(await received(stop.messageSid)).toMatchObject({ keyword: 'stop', decision: 'none' });

    const missed = await app.twilio.placeCall({ from: caller, to: BUSINESS });
    expect(await decisionOf(missed.callSid)).toEqual({ decision: 'suppress', reason: 'opted_out' });
    await settled();
    expect(sentTo(caller)).toBe(0);

    const start = await textIn(caller, 'START');
    expect((await ledger(caller)).at(-1)).toEqual({ kind: 'opt_in', basis: 'keyword', evidence_id: start.messageSid });
    expect(await events('nmc.compliance.OptInRecorded', caller)).toEqual([{ tenant_id: tenant }]);
    const again = await app.twilio.placeCall({ from: caller, to: BUSINESS });
    expect(await decisionOf(again.callSid)).toEqual({ decision: 'reply', reason: null });
    await app.twilio.messageTo(caller);
  });

  it('is heard in what the provider says of the text, and counts once when it comes twice', async () => {
    const caller = '+14155550195';
    const text = {
      from: caller,
      to: BUSINESS,
      body: 'No more of this',
      messageSid: newSid('SM'),
      extra: { OptOutType: 'STOP' },
    };
    await Promise.all([app.twilio.inboundSms(text), app.twilio.inboundSms(text)]);
    expect(await ledger(caller)).toEqual([{ kind: 'opt_out', basis: 'keyword', evidence_id: text.messageSid }]);
    expect(await events('nmc.compliance.OptOutRecorded', caller)).toHaveLength(1);
  });

  it('between the decision and the sending prevents the text', async () => {
    const caller = '+14155550196';
    const held = await TestApp.start({ env: { PAUSE_OUTBOUND_SMS: 'true' } });
    await held.onboard({ numbers: [BUSINESS] });
    await held.twilio.placeCall({ from: caller, to: BUSINESS });
    const isHeld = () => held.row(`select 1 from infra.outbox_deliveries where last_error = 'outbound_paused'`);
    await eventually(async () => (await isHeld()) !== undefined, { label: 'the text is held' });
    await held.twilio.inboundSms({ from: caller, to: BUSINESS, body: 'STOP' });
    const second = '+14155550197';
    await held.twilio.placeCall({ from: second, to: BUSINESS });

    // The pause is lifted as it is in life: by another process with another environment.
    await held.app.close();
    const resumed = await TestApp.start({ beside: held });
    await resumed.twilio.messageTo(second);
    const state = () =>
      resumed.row('select state from telephony.messages where caller = $1 and direction = $2', [caller, 'outbound']);
    await eventually(async () => expect(await state()).toEqual({ state: 'failed' }), { label: 'the text is given up' });
    expect(resumed.twilio.ledger.requests.map(({ params }) => params['To'])).toEqual([second]);
    const excluded = `select excluded_reason from reporting.first_responses where failed_reason = 'opted_out'`;
    await eventually(async () => expect(await resumed.row(excluded)).toEqual({ excluded_reason: 'opted_out' }), {
      label: 'the tracker leaves it out',
    });
    await resumed.stop();
    await held.stop();
  });
});

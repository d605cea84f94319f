import { randomBytes } from 'node:crypto';
import { SIMULATED_ACCOUNT } from '../../../src/demo/development.js';
import { MESSAGE_STATES } from '../../../src/telephony/messages/delivery-state.policy.js';
import { LOCK_SID, PARK_CALLBACK } from '../../../src/telephony/messages/messages.queries.js';
import { eventually } from '../../support/eventually.js';
import { BUSINESS_NUMBER, TestApp } from '../../support/test-app.js';
import { eventNames, settledText, type TextRecord, textRecord } from '../../support/text-record.js';

const OWN = { accountSid: `AC${'b'.repeat(32)}`, authToken: 'the-subaccounts-own-token' };
const further = (a: string, b: string) => MESSAGE_STATES.indexOf(a as never) > MESSAGE_STATES.indexOf(b as never);

let app: TestApp;
let nextCaller = 1500;
function newCaller(): string {
  nextCaller += 1;
  return `+1415555${nextCaller}`;
}
beforeAll(async () => {
  app = await TestApp.start({
    env: { CREDENTIALS_KEY: randomBytes(32).toString('base64') },
    sendingTimings: { requestTimeoutMs: 800, lookAtMs: { first_reply: [300, 1_000, 2_000, 3_000] }, backoffBaseMs: 50 },
  });
  await app.onboard();
  const twilioAccount = { account_sid: OWN.accountSid, auth_token: OWN.authToken };
  await app.onboard({ name: 'Own Account Inc', numbers: ['+13125550199'], twilio_account: twilioAccount });
  app.twilio.addAccount(OWN.accountSid, OWN.authToken);
});
afterEach(() => app.twilio.faults.clear());
afterAll(() => app.stop());

/** A caller whose text is with the provider, which says nothing of its own accord. */
async function silentText() {
  const caller = newCaller();
  app.twilio.faults.callbacks.always('drop', { to: caller });
  await app.twilio.placeCall({ from: caller, to: BUSINESS_NUMBER });
  const text = await app.twilio.messageTo(caller);
  await settledText(app, caller);
  return { caller, text };
}

interface Report {
  sid: string;
  status: string;
  errorCode?: number;
  accountSid?: string;
}

/** A delivery callback, signed by its account. */
async function report(
  url: string | undefined,
  { sid, status, errorCode, accountSid = app.twilio.ledger.find(sid)?.accountSid }: Report,
) {
  const { status: answer } = await app.twilio.signedPost(
    url ?? `${app.baseUrl}/webhooks/twilio/sms-status`,
    {
      AccountSid: accountSid ?? '',
      MessageSid: sid,
      MessageStatus: status,
      ...(errorCode && { ErrorCode: String(errorCode) }),
    },
    { accountSid },
  );
  return answer;
}

/** Waits until so many connections wait for a lock of another one. */
function waitingForLocks(count: number): Promise<unknown> {
  const sql = `select count(*)::int from pg_stat_activity
    where datname = current_database() and wait_event_type = 'Lock'`;
  return eventually(async () => ((await app.row<{ count: number }>(sql))?.count ?? 0) >= count, {
    label: `${count} wait for a lock`,
  });
}

const delivered = ({ events }: TextRecord) =>
  events.filter(({ name }) => name === 'DeliveryUpdated').map(({ payload }) => payload['state']);

describe('delivery callbacks', () => {
  const orders = [
    ['sent', 'undelivered', 'delivered'],
    ['sent', 'delivered', 'undelivered'],
    ['undelivered', 'sent', 'delivered'],
    ['undelivered', 'delivered', 'sent'],
    ['delivered', 'sent', 'undelivered'],
    ['delivered', 'undelivered', 'sent'],
    ['sent', 'undelivered'],
    ['undelivered', 'sent'],
    ['failed', 'sent'],
  ];
  it.each(orders.map((order) => [order.join(', '), order] as const))('%s: only forward', async (_name, order) => {
    const { caller, text } = await silentText();
    const forward: string[] = [];
    for (const status of order) {
      const errorCode = /undelivered|failed/.test(status) ? 30003 : undefined;
      const url = text.params['StatusCallback'];
      expect(await report(url, { sid: text.sid, status, errorCode })).toBe(200);
      // Twilio may repeat any of them.
      expect(await report(url, { sid: text.sid, status, errorCode })).toBe(200);
      if (further(status, forward.at(-1) ?? 'queued')) forward.push(status);
    }
    const record = await settledText(app, caller);
    expect(record.message.state).toBe(forward.at(-1));
    expect(delivered(record)).toEqual(forward);
    expect(eventNames(record).filter((name) => name === 'OutboundSmsQueued')).toHaveLength(1);
  });

  it.each([
    ['duplicate', ['sent', 'delivered'], 'delivered'],
    ['reorder', ['delivered'], 'delivered'],
    ['drop', [], 'queued'],
  ] as const)('as the provider sends them with the fault %s', async (kind, states, final) => {
    const caller = newCaller();
    app.twilio.faults.nextCallback(kind, { to: caller });
    await app.twilio.placeCall({ from: caller, to: BUSINESS_NUMBER });
    const { sid } = await app.twilio.messageTo(caller);
    await app.twilio.callbackFor(sid, kind === 'reorder' ? 'sent' : 'delivered');
    const record = await eventually(
      async () => {
        const now = await settledText(app, caller);
        return now.message.state === final ? now : null;
      },
      { label: `the text is ${final}` },
    );
    expect(delivered(record)).toEqual(states);
    expect(app.twilio.callbacks.filter((callback) => callback.sid === sid && callback.result?.status === 503)).toEqual(
      [],
    );
  });
});

describe('a callback ahead of the answer', () => {
  it.each([
    ['latency', '201'],
    ['lost_response', 'network'],
    ['hang_accepted', 'timeout'],
  ] as const)('proves the acceptance (%s)', async (kind, httpStatus) => {
    const caller = newCaller();
    app.twilio.faults.next({ kind, ms: 200 } as never, { to: caller }).nextCallback('early', { to: caller });
    await app.twilio.placeCall({ from: caller, to: BUSINESS_NUMBER });
    const { sid } = await app.twilio.messageTo(caller);
    await app.twilio.callbackFor(sid, 'delivered');
    const record = await settledText(app, caller);
    expect(record.message).toMatchObject({ state: 'delivered', message_sid: sid, attempt: 1, resends: 0 });
    expect(record.attempts).toMatchObject([{ outcome: 'accepted', http_status: httpStatus, message_sid: sid }]);
    expect(eventNames(record)).toEqual(['OutboundSmsQueued', 'DeliveryUpdated', 'DeliveryUpdated']);
    expect(record.events[0]?.payload).toMatchObject({ evidence: 'callback', message_sid: sid });
    expect(delivered(record)).toEqual(['sent', 'delivered']);
    expect(app.twilio.ledger.requests.filter(({ params }) => params['To'] === caller)).toHaveLength(1);
  });

  it('waits for the answer when they meet, and neither is lost', async () => {
    const caller = newCaller();
    app.twilio.faults.next({ kind: 'latency', ms: 300 }, { to: caller }).callbacks.always('drop', { to: caller });
    await app.twilio.placeCall({ from: caller, to: BUSINESS_NUMBER });
    const { sid, params } = await app.twilio.messageTo(caller);
    const blocker = await app.db.connect();
    try {
      await blocker.query('begin');
      await blocker.query('select 1 from telephony.messages where caller = $1 for update', [caller]);
      await waitingForLocks(1);
      const callback = report(params['StatusCallback'], { sid, status: 'sent' });
      await waitingForLocks(2);
      await blocker.query('commit');
      expect(await callback).toBe(200);
    } finally {
      blocker.release();
    }
    const record = await settledText(app, caller);
    expect(record.message).toMatchObject({ state: 'sent', attempt: 1 });
    expect(record.events[0]).toMatchObject({ name: 'OutboundSmsQueued', payload: { evidence: 'response' } });
    expect(app.log.filter(({ message }) => String(message).startsWith('event failed'))).toEqual([]);
  });
});

describe('a callback for a text that nobody knows', () => {
  it('is kept, and taken in when the sid becomes known', async () => {
    const caller = newCaller();
    const { faults } = app.twilio;
    faults.next('lost_response', { to: caller }).callbacks.always('drop', { to: caller });
    faults.list.always('empty', { to: caller });
    await app.twilio.placeCall({ from: caller, to: BUSINESS_NUMBER });
    const { sid } = await app.twilio.messageTo(caller);
    expect(await report(undefined, { sid, status: 'undelivered', errorCode: 30006 })).toBe(200);
    const parked = 'select status, error_code from telephony.parked_callbacks where message_sid = $1';
    expect(await app.row(parked, [sid])).toEqual({ status: 'undelivered', error_code: 30006 });
    expect(await textRecord(app, caller)).toMatchObject({ message: { accepted_at: null }, events: [] });

    faults.list.clear();
    const record = await settledText(app, caller);
    expect(record.message.message_sid).toBe(sid);
    expect(await app.row(parked, [sid])).toBeUndefined();
    expect(record.events[0]).toMatchObject({ name: 'OutboundSmsQueued', payload: { evidence: 'reconciled' } });
    expect(delivered(record)).toHaveLength(1);
  });

  it('is not overlooked when it is being kept just as the answer arrives', async () => {
    const caller = newCaller();
    app.twilio.faults.next({ kind: 'latency', ms: 300 }, { to: caller }).callbacks.always('drop', { to: caller });
    await app.twilio.placeCall({ from: caller, to: BUSINESS_NUMBER });
    const { sid } = await app.twilio.messageTo(caller);
    // The transaction of such a callback, before its commit.
    const callback = await app.db.connect();
    try {
      await callback.query('begin');
      await callback.query(LOCK_SID, [sid]);
      await callback.query(PARK_CALLBACK, [sid, 'delivered', null, null, SIMULATED_ACCOUNT.accountSid]);
      await waitingForLocks(1);
      await callback.query('commit');
    } finally {
      callback.release();
    }
    const record = await settledText(app, caller);
    expect(record.message.state).toBe('delivered');
    expect(delivered(record)).toEqual(['delivered']);
  });

  it('signed by another account touches nothing, whatever it names', async () => {
    const { caller, text } = await silentText();
    const before = await textRecord(app, caller);
    const url = text.params['StatusCallback'];
    const accountSid = OWN.accountSid;
    expect(await report(url, { sid: text.sid, status: 'delivered', accountSid })).toBe(200);
    expect(await report(undefined, { sid: text.sid, status: 'undelivered', accountSid })).toBe(200);
    expect(await report(url, { sid: `SM${'c'.repeat(32)}`, status: 'failed', accountSid })).toBe(200);
    expect(await textRecord(app, caller)).toEqual(before);
    expect(await app.row('select * from telephony.parked_callbacks')).toBeUndefined();
  });
});

describe('a resend that turned out to be a second text', () => {
  it('is on the record and changes nothing else', async () => {
    const caller = newCaller();
    const { faults, ledger } = app.twilio;
    faults.next('status_500_accepted', { to: caller }).callbacks.always('drop', { to: caller });
    faults.list.always('empty', { to: caller });
    await app.twilio.placeCall({ from: caller, to: BUSINESS_NUMBER });
    const before = await settledText(app, caller);
    const [first, second] = ledger.messagesTo(caller);
    expect(before.message).toMatchObject({ message_sid: second?.sid, resends: 1, state: 'queued' });

    const url = first?.params['StatusCallback'];
    expect(await report(url, { sid: first?.sid ?? '', status: 'delivered' })).toBe(200);
    const after = await settledText(app, caller);
    expect(after.message).toEqual(before.message);
    expect(after.events).toEqual(before.events);
    expect(after.attempts).toMatchObject([
      { outcome: 'accepted_twice', http_status: '500', message_sid: first?.sid, resend: false },
      { outcome: 'accepted', http_status: '201', message_sid: second?.sid, resend: true },
    ]);
    expect(app.log).toContainEqual(
      expect.objectContaining({ message: 'a resend turned out to be a second text', message_sid: first?.sid }),
    );
  });

  it('is still taken in when the resend was refused', async () => {
    const caller = newCaller();
    const { faults, ledger } = app.twilio;
    faults.next('status_500_accepted', { to: caller }).callbacks.always('drop', { to: caller });
    faults.next({ kind: 'reject', status: 400, code: 21614 }, { to: caller }).list.always('empty', { to: caller });
    await app.twilio.placeCall({ from: caller, to: BUSINESS_NUMBER });
    expect((await settledText(app, caller)).message).toMatchObject({ state: 'failed', error_code: 21614 });

    const [text] = ledger.messagesTo(caller);
    expect(await report(text?.params['StatusCallback'], { sid: text?.sid ?? '', status: 'sent' })).toBe(200);
    const record = await settledText(app, caller);
    expect(record.message).toMatchObject({ state: 'sent', message_sid: text?.sid });
    expect(eventNames(record)).toEqual(['OutboundSmsFailed', 'OutboundSmsQueued', 'DeliveryUpdated']);
    const tracked = 'select failed_reason, message_sid from reporting.first_responses where trigger_id = $1';
    expect(await app.row(tracked, [record.message.trigger_id])).toEqual({
      failed_reason: null,
      message_sid: text?.sid,
    });
  });
});

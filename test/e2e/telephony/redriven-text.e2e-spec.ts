import { SIMULATED_ACCOUNT } from '../../../src/demo/development.js';
import { BUSINESS_NUMBER, TestApp } from '../../support/test-app.js';
import { eventNames, settledText, type TextRecord } from '../../support/text-record.js';

const HURRIED = { requestTimeoutMs: 2_500, lookAtMs: { first_reply: [50, 150] }, backoffBaseMs: 50 };
const NO_SENDER = { kind: 'reject', status: 400, code: 21606 } as const;

let app: TestApp;
let nextCaller = 1700;
beforeAll(async () => {
  app = await TestApp.start({ sendingTimings: HURRIED });
  await app.onboard();
});
afterEach(() => app.twilio.faults.clear());
afterAll(() => app.stop());

interface Letter {
  delivery_id: string;
  subscriber: string;
  correlation_id: string;
  error_code: string;
  fingerprint: string;
}
const list = () => app.http.get('/ops/api/dead-letters').auth('ops', 'ops').expect(200);
const retry = (body: object) => app.http.post('/ops/api/dead-letters/retry').auth('ops', 'ops').send(body).expect(200);

/** Places a missed call and waits until its text is a dead letter. */
async function deadText(
  arrange: (caller: string) => void,
): Promise<{ caller: string; letter: Letter; record: TextRecord }> {
  nextCaller += 1;
  const caller = `+1415555${nextCaller}`;
  arrange(caller);
  await app.twilio.placeCall({ from: caller, to: BUSINESS_NUMBER });
  const record = await settledText(app, caller, 15_000);
  const { body } = await list();
  expect(body.items).toHaveLength(1);
  return { caller, letter: body.items[0], record };
}

/** Redrives it and waits until it is done, or dead again. */
async function redriven(caller: string, { delivery_id }: Letter): Promise<TextRecord> {
  expect((await retry({ delivery_ids: [delivery_id] })).body).toMatchObject({ retried: 1, not_found: 0 });
  return settledText(app, caller, 15_000);
}

const textsTo = (caller: string) => app.twilio.ledger.messagesTo(caller);
const outcomes = ({ attempts }: TextRecord) =>
  attempts.map(({ outcome, resend }) => (resend ? `resend ${outcome}` : outcome));

describe('a text that was refused because of the account', () => {
  it('is a dead letter, and is sent once when the account works again', async () => {
    const { caller, letter, record } = await deadText((to) => app.twilio.faults.always(NO_SENDER, { to }));
    expect(letter).toMatchObject({ subscriber: 'conversation.first_reply', error_code: 'telephony.configuration' });
    expect(record.message).toMatchObject({ state: 'failed', error_code: 21606 });
    expect(textsTo(caller)).toEqual([]);

    const stillBroken = await redriven(caller, letter);
    expect(stillBroken.message).toMatchObject({ state: 'failed', error_code: 21606, attempt: 2 });
    const [again] = (await list()).body.items;
    expect(again).toMatchObject({ delivery_id: letter.delivery_id, fingerprint: letter.fingerprint });

    app.twilio.faults.clear();
    const { subscriber, fingerprint } = letter;
    expect((await retry({ group: { subscriber, fingerprint } })).body).toMatchObject({ retried: 1 });
    const text = await app.twilio.messageTo(caller);
    await app.twilio.callbackFor(text.sid, 'delivered');
    const sent = await settledText(app, caller);
    expect(textsTo(caller)).toHaveLength(1);
    expect(outcomes(sent)).toEqual(['refused', 'refused', 'accepted']);
    expect(sent.message).toMatchObject({ state: 'delivered', message_sid: text.sid, resends: 0, error_code: null });
    expect(eventNames(sent).filter((name) => name === 'OutboundSmsQueued')).toHaveLength(1);
    expect((await list()).body.items).toEqual([]);
    const tracked = 'select failed_reason, message_sid from reporting.first_responses where trigger_id = $1';
    expect(await app.row(tracked, [sent.message.trigger_id])).toEqual({ failed_reason: null, message_sid: text.sid });

    const { rows } = await app.db.query('select actor, action, subject, detail from infra.audit_log order by audit_id');
    expect(rows).toMatchObject([
      { actor: 'ops', action: 'dead_letters.retry', subject: 'deliveries', detail: { ids: [letter.delivery_id] } },
      { actor: 'ops', action: 'dead_letters.retry', subject: 'group', detail: { ids: [letter.delivery_id] } },
    ]);
    for (const shown of [letter, rows, app.log]) expect(JSON.stringify(shown)).not.toContain(caller);
  });

  it('is not sent to a person who has opted out meanwhile', async () => {
    const { caller, letter } = await deadText((to) => app.twilio.faults.next(NO_SENDER, { to }));
    await app.twilio.inboundSms({ from: caller, to: BUSINESS_NUMBER, body: 'STOP' });
    await redriven(caller, letter);
    expect((await list()).body.items).toEqual([]);
    expect(app.twilio.ledger.requests.filter(({ params }) => params['To'] === caller)).toHaveLength(1);
  });

  it('is not sent when it is too late for it', async () => {
    const { caller, letter } = await deadText((to) => app.twilio.faults.next(NO_SENDER, { to }));
    await app.db.query(
      "update telephony.messages set triggered_at = triggered_at - interval '2 hours' where caller = $1",
      [caller],
    );
    const record = await redriven(caller, letter);
    expect(record.message).toMatchObject({ state: 'failed', error_code: 21606, attempt: 1 });
    expect(eventNames(record)).toEqual(['OutboundSmsFailed']);
    expect((await list()).body.items).toEqual([]);
    expect(textsTo(caller)).toEqual([]);
  });
});

describe('a text whose outcome could not be established', () => {
  it('is looked for again, and sent once more when it is not there', async () => {
    const { caller, letter, record } = await deadText((to) => app.twilio.faults.next('status_500', { to, times: 4 }));
    expect(letter.error_code).toBe('telephony.needs_review');
    expect(record.message).toMatchObject({ state: 'needs_review', attempt: 4, resends: 3 });
    const sent = await redriven(caller, letter);
    expect(textsTo(caller)).toHaveLength(1);
    expect(outcomes(sent)).toEqual([
      'ambiguous',
      'resend ambiguous',
      'resend ambiguous',
      'resend ambiguous',
      'resend accepted',
    ]);
    expect((await list()).body.items).toEqual([]);
  });

  it('is adopted, not sent again, when it has turned up', async () => {
    const { caller, letter } = await deadText((to) => {
      app.twilio.faults.next('status_500', { to, times: 3 }).next('status_500_accepted', { to });
      app.twilio.faults.list.always('empty', { to });
      app.twilio.faults.callbacks.always('drop', { to });
    });
    expect(textsTo(caller)).toHaveLength(1);
    app.twilio.faults.list.clear();
    const found = await redriven(caller, letter);
    expect(textsTo(caller)).toHaveLength(1);
    expect(found.message.message_sid).toBe(textsTo(caller)[0]?.sid);
    expect(outcomes(found).filter((outcome) => outcome.endsWith('accepted'))).toHaveLength(1);
  });

  it('is adopted when the provider has told of it before the redrive', async () => {
    const { caller, letter } = await deadText((to) => app.twilio.faults.next('status_500', { to, times: 4 }));
    const url = app.twilio.ledger.requests.findLast(({ params }) => params['To'] === caller)?.params['StatusCallback'];
    const MessageSid = `SM${'e'.repeat(32)}`;
    const AccountSid = SIMULATED_ACCOUNT.accountSid;
    const posted = await app.twilio.signedPost(url ?? '', { AccountSid, MessageSid, MessageStatus: 'delivered' });
    expect(posted.status).toBe(200);
    const found = await redriven(caller, letter);
    expect(found.message).toMatchObject({ state: 'delivered', message_sid: MessageSid });
    expect(textsTo(caller)).toEqual([]);
    expect((await list()).body.items).toEqual([]);
  });
});

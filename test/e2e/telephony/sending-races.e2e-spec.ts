import { errorCode } from '../../../src/common/errors/app-error.js';
import { SIMULATED_ACCOUNT } from '../../../src/demo/development.js';
import { Snooze } from '../../../src/infra/outbox/outbox.errors.js';
import { TelephonyApi } from '../../../src/telephony/contracts/telephony.api.js';
import { SendingTimings } from '../../../src/telephony/messages/sending.policy.js';
import { eventually } from '../../support/eventually.js';
import { BUSINESS_NUMBER, TestApp } from '../../support/test-app.js';
import { eventNames, type TextRecord, textRecord } from '../../support/text-record.js';

const HURRIED = { requestTimeoutMs: 2_500, lookAtMs: { first_reply: [100, 300] }, backoffBaseMs: 50, pausedLookMs: 50 };
/** A process stopped right after its marker leaves exactly this. */
const MARK = `
  with marked as (
    update telephony.messages set state = 'submitting', attempt = 1, submitted_at = clock_timestamp() where caller = $1
    returning message_id)
  insert into telephony.send_attempts (message_id, attempt, resend) select message_id, 1, false from marked`;

/** Two processes of one deployment; neither delivers events, so that what submits is the test. */
let left: TestApp;
let right: TestApp;
let nextCaller = 1400;
function newCaller(): string {
  nextCaller += 1;
  return `+1415555${nextCaller}`;
}

beforeAll(async () => {
  const options = { env: { ROLE: 'web' }, sendingTimings: HURRIED };
  left = await TestApp.start(options);
  await left.onboard();
  right = await TestApp.start({ ...options, beside: left });
});
afterEach(() => left.twilio.faults.clear());
afterAll(async () => {
  await right.stop();
  await left.stop();
});

/** A text that is owed and that no process has begun to send. */
async function owedText(caller = newCaller()): Promise<{ caller: string; messageId: string }> {
  // The one worker records the intent and, being paused, sends nothing.
  const worker = await TestApp.start({ beside: left, env: { PAUSE_OUTBOUND_SMS: 'true' }, sendingTimings: HURRIED });
  await left.twilio.placeCall({ from: caller, to: BUSINESS_NUMBER });
  const isOwed = (text: TextRecord | null) => (text?.message.state === 'requested' ? text : null);
  const record = await eventually(() => textRecord(left, caller).then(isOwed), { label: 'the text is requested' });
  await worker.stop();
  return { caller, messageId: record.message.message_id };
}

/** Submits until it is done or given up, as the outbox does; answers why it had to come back, or was given up. */
function submit(app: TestApp, messageId: string): Promise<string[]> {
  const reasons: string[] = [];
  const telephony = app.app.get(TelephonyApi, { strict: false });
  return eventually(
    async () => {
      const error: unknown = await telephony.submit(messageId).catch((failure: unknown) => failure);
      if (error instanceof Snooze) reasons.push(error.reason);
      else if (error) reasons.push(errorCode(error));
      return error instanceof Snooze ? null : reasons;
    },
    { deadlineMs: 30_000, label: 'the text is settled' },
  );
}

const record = (caller: string) =>
  eventually<TextRecord | null>(() => textRecord(left, caller), { label: 'the text is on record' });
const outcomes = ({ attempts }: TextRecord) =>
  attempts.map(({ outcome, resend }) => (resend ? `resend ${outcome}` : outcome));

describe('a process that dies', () => {
  it('between its marker and the request: absent, and sent once, as a resend', async () => {
    const { caller, messageId } = await owedText();
    await left.db.query(MARK, [caller]);
    expect(await submit(right, messageId)).toContain('reconciling');
    expect(left.twilio.ledger.messagesTo(caller)).toHaveLength(1);
    expect(outcomes(await record(caller))).toEqual(['submitting', 'resend accepted']);
  });

  it('after the provider took the text, before its commit: adopted, not sent again', async () => {
    const { caller, messageId } = await owedText();
    const body = await left.row<{ body: string }>('select body from telephony.messages where caller = $1', [caller]);
    await left.db.query(MARK, [caller]);
    const { accountSid, authToken } = SIMULATED_ACCOUNT;
    await fetch(`${left.twilio.baseUrl}/2010-04-01/Accounts/${accountSid}/Messages.json`, {
      method: 'POST',
      headers: { Authorization: `Basic ${btoa(`${accountSid}:${authToken}`)}` },
      body: new URLSearchParams({ To: caller, From: BUSINESS_NUMBER, Body: body?.body ?? '' }),
    });
    await submit(right, messageId);
    const sent = left.twilio.ledger.messagesTo(caller);
    expect(sent).toHaveLength(1);
    expect(outcomes(await record(caller))).toEqual(['accepted']);
    expect((await record(caller)).message.message_sid).toBe(sent[0]?.sid);
  });
});

describe('two processes at one text', () => {
  it('send it once when they start together, and neither leaves before it is known to be accepted', async () => {
    const { caller, messageId } = await owedText();
    // Long enough for the other to come, and no callback that settles it before.
    left.twilio.faults.next({ kind: 'latency', ms: 1_500 }, { to: caller }).callbacks.always('drop', { to: caller });
    const atTheEnd = await Promise.all(
      [left, right].map((process) => submit(process, messageId).then(() => record(caller))),
    );
    for (const { message } of atTheEnd) expect(message.accepted_at).not.toBeNull();
    expect(left.twilio.ledger.requests.filter(({ params }) => params['To'] === caller)).toHaveLength(1);
    expect(outcomes(await record(caller))).toEqual(['accepted']);
  });

  it('and an old refusal does not speak for a newer request', async () => {
    const { caller, messageId } = await owedText();
    const { faults, ledger } = left.twilio;
    faults.next({ kind: 'latency', ms: 1_200 }, { to: caller }).next({ kind: 'latency', ms: 1_800 }, { to: caller });
    left.twilio.optOut(caller);
    const old = submit(left, messageId);
    await eventually(() => ledger.requests.some(({ params }) => params['To'] === caller), { label: 'the old request' });
    left.twilio.optIn(caller);
    const newer = submit(right, messageId);
    await old;
    expect((await record(caller)).message.state).toBe('submitting');
    await newer;
    const final = await record(caller);
    expect(ledger.messagesTo(caller)).toHaveLength(1);
    expect(outcomes(final)).toEqual(['refused', 'resend accepted']);
    expect(final.message.state).not.toBe('failed');
    expect(eventNames(final)).not.toContain('OutboundSmsFailed');
  });

  it('and one that was frozen around its marker does not send', async () => {
    const { caller, messageId } = await owedText();
    const timings = left.app.get(SendingTimings, { strict: false });
    timings.staleMarkerMs = -1;
    await expect(left.app.get(TelephonyApi, { strict: false }).submit(messageId)).rejects.toThrow(
      'provider_not_accepting',
    );
    timings.staleMarkerMs = 5_000;
    expect(left.twilio.ledger.requests.some(({ params }) => params['To'] === caller)).toBe(false);
    await submit(left, messageId);
    expect(outcomes(await record(caller))).toEqual(['not_processed', 'accepted']);
    expect(left.twilio.ledger.messagesTo(caller)).toHaveLength(1);
  });
});

describe('a callback during the last look', () => {
  it('settles the text, which is not sent again', async () => {
    const { caller, messageId } = await owedText();
    const { faults, ledger } = left.twilio;
    faults.next('reset', { to: caller });
    const telephony = left.app.get(TelephonyApi, { strict: false });
    await expect(telephony.submit(messageId)).rejects.toThrow('reconciling');
    const old = `select 1 from telephony.send_attempts where message_id = $1 and started_at < clock_timestamp() - interval '0.3 s'`;
    await eventually(() => left.row(old, [messageId]).then((row) => row ?? null), { label: 'the last look is due' });

    faults.nextList({ kind: 'latency', ms: 500 }, { to: caller });
    const lastLook = telephony.submit(messageId);
    await eventually(() => faults.list.pending === 0, { label: 'the provider is being asked' });
    const sid = `SM${'d'.repeat(32)}`;
    const url = ledger.requests.find(({ params }) => params['To'] === caller)?.params['StatusCallback'] ?? '';
    const { accountSid: AccountSid } = SIMULATED_ACCOUNT;
    await left.twilio.signedPost(url, { AccountSid, MessageSid: sid, MessageStatus: 'sent' });
    await lastLook;
    const final = await record(caller);
    expect(final.message).toMatchObject({ state: 'sent', message_sid: sid, attempt: 1 });
    expect(outcomes(final)).toEqual(['accepted']);
    expect(ledger.messagesTo(caller)).toEqual([]);
  });
});

describe('the words of an earlier text', () => {
  it('are not taken for a lost one when the repeat window has passed', async () => {
    const first = await owedText();
    await submit(left, first.messageId);
    await left.db.query("update telephony.reply_windows set opened_at = opened_at - interval '2 hours'");
    const second = await owedText(first.caller);
    expect(second.messageId).not.toBe(first.messageId);
    left.twilio.faults.next('reset', { to: first.caller });
    await submit(left, second.messageId);
    const sent = left.twilio.ledger.messagesTo(first.caller);
    expect(new Set(sent.map(({ body }) => body)).size).toBe(1);
    expect(sent).toHaveLength(2);
    expect((await record(first.caller)).message.message_sid).toBe(sent[1]?.sid);
  });
});

describe('when every look finds nothing', () => {
  it('a person has to look; a redrive looks again and sends once more', async () => {
    const { caller, messageId } = await owedText();
    left.twilio.faults.next('status_500', { to: caller, times: 4 });
    expect((await submit(left, messageId)).at(-1)).toBe('telephony.needs_review');
    expect((await record(caller)).message).toMatchObject({ state: 'needs_review', attempt: 4, resends: 3 });
    await submit(left, messageId);
    expect(outcomes(await record(caller))).toEqual([
      'ambiguous',
      ...Array.from({ length: 3 }, () => 'resend ambiguous'),
      'resend accepted',
    ]);
    expect(left.twilio.ledger.messagesTo(caller)).toHaveLength(1);
  });

  it('and two texts of one intent turn up late, the older is the text and the other is on the record', async () => {
    const { caller, messageId } = await owedText();
    const { faults, ledger } = left.twilio;
    faults.next('lost_response', { to: caller, times: 2 }).list.always('empty', { to: caller });
    faults.callbacks.always('drop', { to: caller });
    const submitted = submit(left, messageId);
    await eventually(() => ledger.messagesTo(caller).length === 2, { label: 'the resend' });
    faults.list.clear();
    await submitted;
    const final = await record(caller);
    const [first, second] = ledger.messagesTo(caller);
    expect(final.message).toMatchObject({ message_sid: first?.sid, resends: 1 });
    expect(final.attempts.map(({ message_sid }) => message_sid).sort()).toEqual([first?.sid, second?.sid].sort());
    expect(final.attempts.map(({ outcome }) => outcome).sort()).toEqual(['accepted', 'accepted_twice']);
    expect(eventNames(final).filter((name) => name === 'OutboundSmsQueued')).toHaveLength(1);
  });
});

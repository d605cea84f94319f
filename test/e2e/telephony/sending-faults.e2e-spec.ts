import { SIMULATED_ACCOUNT } from '../../../src/demo/development.js';
import type { CreateFault, FaultSpec } from '../../../src/demo/simulators/twilio/faults.js';
import { TwilioSimulator } from '../../../src/demo/simulators/twilio/twilio-simulator.js';
import { eventually } from '../../support/eventually.js';
import { freePort } from '../../support/free-port.js';
import { BUSINESS_NUMBER, TestApp } from '../../support/test-app.js';
import { type AttemptRecord, eventNames, settledText } from '../../support/text-record.js';

/** Short enough for a test, with the order of the real ones: a request ends before the last look. */
const HURRIED = {
  requestTimeoutMs: 600,
  lookAtMs: { first_reply: [100, 300, 700, 900] },
  backoffBaseMs: 50,
};

let app: TestApp;
let nextCaller = 1000;
function newCaller(): string {
  nextCaller += 1;
  return `+1415555${nextCaller}`;
}
beforeAll(async () => {
  app = await TestApp.start({ sendingTimings: HURRIED });
  await app.onboard();
});
afterEach(() => app.twilio.faults.clear());
afterAll(() => app.stop());

/** Places a missed call whose first create request suffers the fault, and waits until nothing more will happen. */
async function missedCall(fault: FaultSpec<CreateFault>, { callbacks }: { callbacks: boolean }) {
  const caller = newCaller();
  app.twilio.faults.next(fault, { to: caller });
  if (!callbacks) app.twilio.faults.callbacks.always('drop', { to: caller });
  const requests = await requestCounts();
  await app.twilio.placeCall({ from: caller, to: BUSINESS_NUMBER });
  const record = await settledText(app, caller);
  const requested = Object.entries(await requestCounts()).flatMap(([status, count]) =>
    count > (requests[status] ?? 0) ? [`${status}: ${count - (requests[status] ?? 0)}`] : [],
  );
  return { caller, record, requested, texts: app.twilio.ledger.messagesTo(caller) };
}

/** Create requests by the status that the metric has for them. */
async function requestCounts(): Promise<Record<string, number>> {
  const { text } = await app.http.get('/metrics').auth('metrics', 'metrics').expect(200);
  const sample = /^integration_http_requests_total\{(.*endpoint="messages\.create".*)\} (\d+)$/gm;
  return Object.fromEntries(
    [...text.matchAll(sample)].map(([, labels, count]) => {
      expect(labels).toContain('provider="twilio"');
      return [/status="(\w+)"/.exec(labels ?? '')?.[1] ?? '', Number(count)];
    }),
  );
}

const word = ({ outcome, http_status, resend }: AttemptRecord) => `${resend ? 'resend ' : ''}${outcome} ${http_status}`;

describe('one text, whatever happens to the request for it', () => {
  // The last column: how the acceptance became known when the provider does not call back.
  it.each<[FaultSpec<CreateFault>, string[], string[], string]>([
    [{ kind: 'latency', ms: 100 }, ['accepted 201'], ['201: 1'], 'response'],
    ['hang', ['ambiguous timeout', 'resend accepted 201'], ['201: 1', 'timeout: 1'], 'response'],
    ['hang_accepted', ['accepted timeout'], ['timeout: 1'], 'reconciled'],
    ['reset', ['ambiguous network', 'resend accepted 201'], ['201: 1', 'network: 1'], 'response'],
    ['lost_response', ['accepted network'], ['network: 1'], 'reconciled'],
    ['truncated', ['accepted network'], ['network: 1'], 'reconciled'],
    ['garbage', ['accepted 201'], ['201: 1'], 'reconciled'],
    ['status_500', ['ambiguous 500', 'resend accepted 201'], ['201: 1', '500: 1'], 'response'],
    ['status_500_accepted', ['accepted 500'], ['500: 1'], 'reconciled'],
    ['status_503', ['ambiguous 503', 'resend accepted 201'], ['201: 1', '503: 1'], 'response'],
    ['status_429', ['not_processed 429', 'accepted 201'], ['201: 1', '429: 1'], 'response'],
  ])('%j', async (fault, attempts, statuses, evidence) => {
    const resends = (await app.metric('twilio_resends_total')) ?? 0;
    const { record, requested, texts } = await missedCall(fault, { callbacks: false });
    expect(texts).toHaveLength(1);
    expect(record.message).toMatchObject({ message_sid: texts[0]?.sid, attempt: attempts.length });
    expect(record.attempts.map(word)).toEqual(attempts);
    expect(record.attempts.at(-1)?.message_sid).toBe(texts[0]?.sid);
    expect(requested.sort()).toEqual(statuses);
    // A text that is found may have been delivered already; announced as accepted it is once.
    expect(eventNames(record).filter((name) => name !== 'DeliveryUpdated')).toEqual(['OutboundSmsQueued']);
    expect(record.events[0]?.payload).toMatchObject({ evidence, message_sid: texts[0]?.sid });
    const flagged = record.attempts.filter(({ resend }) => resend).length;
    expect(record.message.resends).toBe(flagged);
    expect(await app.metric('twilio_resends_total')).toBe(resends + flagged);
  });

  it.each(['hang_accepted', 'lost_response', 'garbage', 'truncated', 'status_500_accepted'] as const)(
    '%s: the delivery callback settles it as well',
    async (fault) => {
      const { record, texts } = await missedCall(fault, { callbacks: true });
      await app.twilio.callbackFor(texts[0]?.sid ?? '', 'delivered');
      expect(texts).toHaveLength(1);
      expect(record.message).toMatchObject({ attempt: 1, resends: 0, message_sid: texts[0]?.sid });
      expect(record.attempts.map(({ outcome }) => outcome)).toEqual(['accepted']);
      expect(eventNames(record).filter((name) => name === 'OutboundSmsQueued')).toHaveLength(1);
    },
  );

  it('waits as long as the provider asks for', async () => {
    const { caller, texts } = await missedCall({ kind: 'status_429', retryAfterSeconds: 1 }, { callbacks: false });
    const [refused, accepted] = app.twilio.ledger.requests.filter(({ params }) => params['To'] === caller);
    expect(texts).toHaveLength(1);
    expect((accepted?.at.getTime() ?? 0) - (refused?.at.getTime() ?? 0)).toBeGreaterThan(1_000);
  });

  it('takes absence only from a list that was really answered', async () => {
    const caller = newCaller();
    const { faults } = app.twilio;
    faults.next('lost_response', { to: caller }).callbacks.always('drop', { to: caller });
    for (const kind of ['status_500', 'garbage', 'reset', 'hang', 'status_503', 'status_429'] as const) {
      faults.nextList(kind, { to: caller });
    }
    await app.twilio.placeCall({ from: caller, to: BUSINESS_NUMBER });
    const record = await settledText(app, caller, 12_000);
    expect(faults.list.pending).toBe(0);
    expect(app.twilio.ledger.messagesTo(caller)).toHaveLength(1);
    expect(record.attempts.map(word)).toEqual(['accepted network']);
  });
});

describe('no text where the provider says no', () => {
  it.each([
    [400, 21211, 'invalid_number'],
    [400, 21610, 'opted_out'],
    [400, 21606, 'configuration'],
  ])('%d with %d', async (status, code, reason) => {
    const { caller, record, requested, texts } = await missedCall(
      { kind: 'reject', status, code },
      { callbacks: true },
    );
    expect(texts).toEqual([]);
    expect(record.message).toMatchObject({ state: 'failed', error_code: code, accepted_at: null, message_sid: null });
    expect(record.attempts.map(word)).toEqual([`refused ${status}`]);
    expect(requested).toEqual([`${status}: 1`]);
    expect(record.events.map(({ name, payload }) => [name, payload['reason'], payload['error_code']])).toEqual([
      ['OutboundSmsFailed', reason, code],
    ]);
    const tracked = 'select failed_reason, first_sms_at from reporting.first_responses where trigger_id = $1';
    expect(await app.row(tracked, [record.message.trigger_id])).toEqual({ failed_reason: reason, first_sms_at: null });
    const consent = 'select kind, basis from compliance.consent_ledger where phone = $1';
    expect((await app.db.query(consent, [caller])).rows).toEqual(
      code === 21610 ? [{ kind: 'opt_out', basis: 'provider_refusal' }] : [],
    );
  });
});

describe('a provider that cannot be reached', () => {
  it('is waited for without a resend, because nothing was sent', async () => {
    const port = await freePort();
    const env = { TWILIO_API_BASE_URL: `http://127.0.0.1:${port}` };
    const waiting = await TestApp.start({ env, sendingTimings: HURRIED });
    let provider: TwilioSimulator | undefined;
    try {
      const caller = newCaller();
      await waiting.onboard();
      await waiting.twilio.placeCall({ from: caller, to: BUSINESS_NUMBER });
      await eventually(
        () => waiting.row('select 1 from telephony.send_attempts where attempt = 3').then((row) => row ?? null),
        {
          label: 'three refused connections',
        },
      );
      provider = await TwilioSimulator.start({ ...SIMULATED_ACCOUNT, port });
      const { message, attempts } = await settledText(waiting, caller);
      expect(provider.ledger.messagesTo(caller)).toHaveLength(1);
      expect(message.resends).toBe(0);
      expect(attempts.slice(0, -1).every((attempt) => word(attempt) === 'not_processed network')).toBe(true);
      expect(attempts.map(word).at(-1)).toBe('accepted 201');
    } finally {
      await waiting.stop();
      await provider?.stop();
    }
  });
});

describe('a provider whose clock is not ours', () => {
  it.each([-120_000, 120_000])('by %d ms: a lost answer is found all the same', async (clockOffsetMs) => {
    const other = await TestApp.start({ simulator: { clockOffsetMs }, sendingTimings: HURRIED });
    try {
      const caller = newCaller();
      await other.onboard();
      other.twilio.faults.next('lost_response').callbacks.always('drop');
      await other.twilio.placeCall({ from: caller, to: BUSINESS_NUMBER });
      expect((await settledText(other, caller)).attempts.map(word)).toEqual(['accepted network']);
      expect(other.twilio.ledger.messagesTo(caller)).toHaveLength(1);
    } finally {
      await other.stop();
    }
  });
});

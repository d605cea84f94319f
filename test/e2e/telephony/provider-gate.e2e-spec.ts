import { randomBytes } from 'node:crypto';
import { SIMULATED_ACCOUNT } from '../../../src/demo/development.js';
import { TwilioSimulator } from '../../../src/demo/simulators/twilio/twilio-simulator.js';
import { eventually } from '../../support/eventually.js';
import { freePort } from '../../support/free-port.js';
import { BUSINESS_NUMBER, TestApp } from '../../support/test-app.js';
import { settledText, type TextRecord, textRecord } from '../../support/text-record.js';

const OWN = { accountSid: `AC${'a'.repeat(32)}`, authToken: 'the-subaccounts-own-token' };
const OWN_BUSINESS = '+13125550104';
const OPEN = 'provider_breaker_open{provider="twilio"}';
const FAILURES_TO_OPEN = 5;
/** One at a time, so that the order of requests is the order in which deliveries are taken. */
const CONCURRENCY = 1;

const callersFrom = (first: number, count: number) => Array.from({ length: count }, (_, i) => `+1415555${first + i}`);
/** nestjs-pino keeps one logger for all applications of a process: the first one's. */
let log: Record<string, unknown>[] | undefined;
const linesOf = (message: string, gate: string) =>
  (log ?? []).filter((line) => line['message'] === message && line['gate'] === gate);

/** The deliveries of first replies that still wait, and how often each of them was ever held or failed. */
async function waitingReplies(app: TestApp) {
  const { rows } = await app.db.query<{ caller: string; fence: number; finished: number; owner: number | null }>(
    `select e.payload ->> 'caller' as caller, d.fence, d.finished, d.owner
     from infra.outbox_deliveries d join infra.outbox_events e using (event_id)
     where d.subscriber = 'conversation.first_reply' order by d.delivery_id`,
  );
  return rows;
}

describe('a provider that is down while many call', () => {
  let app: TestApp;
  let provider: TwilioSimulator | undefined;
  let port: number;
  beforeAll(async () => {
    port = await freePort();
    const env = { TWILIO_API_BASE_URL: `http://127.0.0.1:${port}`, OUTBOX_CONCURRENCY: String(CONCURRENCY) };
    app = await TestApp.start({ env });
    log = app.log;
    await app.onboard();
  });
  afterAll(async () => {
    await app.stop();
    await provider?.stop();
  });

  it('is asked by probes only, burns nobody’s attempts, and then everybody gets one text, in order', async () => {
    const early = callersFrom(2000, 4);
    for (const from of early) await app.twilio.placeCall({ from, to: BUSINESS_NUMBER });
    await eventually(async () => (await app.metric(OPEN)) === 1, { deadlineMs: 20_000, label: 'the breaker opens' });

    const late = callersFrom(2100, 30);
    for (const from of late) await app.twilio.placeCall({ from, to: BUSINESS_NUMBER });
    const { probes } = await eventually(
      async () => {
        const row = await app.row<{ tries: number }>('select count(*)::int as tries from telephony.send_attempts');
        const probes = (row?.tries ?? 0) - FAILURES_TO_OPEN;
        return probes >= 3 ? { probes } : null;
      },
      { deadlineMs: 30_000, label: 'three probes' },
    );
    // What was under way when it opened, and a probe a cool-down; the others were never touched.
    expect(probes).toBeLessThan(3 + CONCURRENCY + 2);
    const waiting = await waitingReplies(app);
    expect(waiting).toHaveLength(early.length + late.length);
    expect(waiting.every(({ finished }) => finished === 0)).toBe(true);
    expect(waiting.filter(({ fence }) => fence === 0).length).toBeGreaterThan(late.length / 2);
    expect(linesOf('provider is left alone', `twilio:${SIMULATED_ACCOUNT.accountSid}`)).toEqual([
      expect.objectContaining({ level: 'warn', provider: 'twilio', reason: 'down' }),
    ]);

    provider = await TwilioSimulator.start({ ...SIMULATED_ACCOUNT, port, webhookBaseUrl: app.baseUrl });
    const records: TextRecord[] = [];
    for (const caller of [...early, ...late]) records.push(await settledText(app, caller, 40_000));
    for (const caller of [...early, ...late]) expect(provider.ledger.messagesTo(caller)).toHaveLength(1);
    expect(records.every(({ message }) => message.resends === 0)).toBe(true);
    const neverHeld = new Set(waiting.filter(({ fence }) => fence === 0).map(({ caller }) => caller));
    const untouched = late.filter(
      (caller, i) => neverHeld.has(caller) && records[early.length + i]?.attempts.length === 1,
    );
    expect(untouched.length).toBeGreaterThan(late.length / 2);
    const sent = provider.ledger.messages.map(({ to }) => to).filter((to) => untouched.includes(to));
    expect(sent).toEqual(untouched);
    expect(await app.metric(OPEN)).toBe(0);
    expect(linesOf('provider works again', `twilio:${SIMULATED_ACCOUNT.accountSid}`)).toHaveLength(1);
  }, 120_000);
});

describe('an account whose credentials are refused', () => {
  let app: TestApp;
  beforeAll(async () => {
    app = await TestApp.start({ env: { CREDENTIALS_KEY: randomBytes(32).toString('base64') } });
    await app.onboard();
    const twilio_account = { account_sid: OWN.accountSid, auth_token: OWN.authToken };
    await app.onboard({ name: 'Own Account Inc', numbers: [OWN_BUSINESS], twilio_account });
    app.twilio.addAccount(OWN.accountSid, OWN.authToken);
  });
  afterAll(() => app.stop());

  it('waits with its texts until they are taken, is told of once, and delays no other account', async () => {
    const callers = callersFrom(2200, 30);
    for (const to of callers) app.twilio.faults.always({ kind: 'reject', status: 401, code: 20003 }, { to });
    for (const from of callers) await app.twilio.placeCall({ from, to: OWN_BUSINESS, accountSid: OWN.accountSid });
    await eventually(async () => (await app.metric(OPEN)) === 1, { deadlineMs: 10_000, label: 'the breaker opens' });

    const [other = ''] = callersFrom(2300, 1);
    await app.twilio.placeCall({ from: other, to: BUSINESS_NUMBER });
    const { message, attempts } = await settledText(app, other);
    expect(message.accepted_at).not.toBeNull();
    expect(attempts.map(({ outcome }) => outcome)).toEqual(['accepted']);
    // It was the breaker that they waited for, not their turn.
    expect(await app.metric(OPEN)).toBe(1);
    expect(await waitingReplies(app)).toHaveLength(callers.length);

    app.twilio.faults.clear();
    for (const caller of callers) {
      const record = await settledText(app, caller, 30_000);
      expect(record.message).toMatchObject({ resends: 0, error_code: null });
      expect(record.attempts.at(-1)?.outcome).toBe('accepted');
      const earlier = record.attempts.slice(0, -1).map(({ outcome, http_status }) => `${outcome} ${http_status}`);
      expect(new Set([...earlier, 'not_processed 401'])).toEqual(new Set(['not_processed 401']));
      expect(app.twilio.ledger.messagesTo(caller)).toHaveLength(1);
      expect(record.events.map(({ name }) => name)).not.toContain('OutboundSmsFailed');
    }
    expect(linesOf('provider is left alone', `twilio:${OWN.accountSid}`)).toEqual([
      expect.objectContaining({ level: 'error', reason: 'credentials' }),
    ]);
    expect(await app.metric(OPEN)).toBe(0);
  }, 90_000);

  it('fails a text for good only when it is too late for it', async () => {
    const [caller = ''] = callersFrom(2400, 1);
    app.twilio.faults.always({ kind: 'reject', status: 401, code: 20003 }, { to: caller });
    await app.twilio.placeCall({ from: caller, to: OWN_BUSINESS, accountSid: OWN.accountSid });
    await eventually(() => textRecord(app, caller).then((record) => (record?.attempts.length ? record : null)), {
      label: 'it was tried',
    });
    await app.db.query(`update telephony.messages set triggered_at = now() - interval '61 min' where caller = $1`, [
      caller,
    ]);
    const record = await settledText(app, caller, 30_000);
    expect(record.message.state).toBe('failed');
    expect(record.events.map(({ name, payload }) => [name, payload['reason']])).toEqual([
      ['OutboundSmsFailed', 'too_late'],
    ]);
    app.twilio.faults.clear();
  }, 60_000);
});

describe('a provider that throttles', () => {
  let app: TestApp;
  beforeAll(async () => {
    app = await TestApp.start();
    await app.onboard();
  });
  afterAll(() => app.stop());

  it('is left alone for as long as it asks by everybody on that account, and counted', async () => {
    const [first = '', second = ''] = callersFrom(2500, 2);
    const before = (await app.metric('provider_throttled_total{provider="twilio"}')) ?? 0;
    app.twilio.faults.next({ kind: 'status_429', retryAfterSeconds: 2 }, { to: first });
    await app.twilio.placeCall({ from: first, to: BUSINESS_NUMBER });
    await eventually(() => app.twilio.ledger.requests.length === 1, { label: 'the first request' });
    await app.twilio.placeCall({ from: second, to: BUSINESS_NUMBER });
    await settledText(app, first, 15_000);
    await settledText(app, second, 15_000);
    const [refused, ...accepted] = app.twilio.ledger.requests.map(({ at }) => at.getTime());
    expect(accepted).toHaveLength(2);
    for (const at of accepted) expect(at - (refused ?? 0)).toBeGreaterThan(1_900);
    expect(await app.metric('provider_throttled_total{provider="twilio"}')).toBe(before + 1);
    expect(await app.metric(OPEN)).toBe(0);
  });
});

import { SloCron } from '../../../src/reporting/slo/slo.cron.js';
import { eventually } from '../../support/eventually.js';
import { BUSINESS_NUMBER, TestApp } from '../../support/test-app.js';
import { eventNames, settledText } from '../../support/text-record.js';

const CALLER = '+14155551201';

describe('a provider that hangs, answers 500, then 429, then loses its answer', () => {
  let app: TestApp;
  beforeAll(async () => {
    app = await TestApp.start({
      sendingTimings: { requestTimeoutMs: 600, lookAtMs: { first_reply: [100, 300, 700, 900] }, backoffBaseMs: 50 },
    });
    await app.onboard();
  });
  afterAll(() => app.stop());

  async function objective() {
    await app.app.get(SloCron, { strict: false }).computeFirstSms();
    return {
      open: await app.metric('slo_first_sms_open_breached_calls'),
      p95: await app.metric('slo_first_sms_p95_seconds'),
    };
  }

  it('costs the caller time but never a second text, and the objective shows it while it lasts', async () => {
    const { faults, ledger } = app.twilio;
    faults.next('hang').next('status_500').always('status_429');
    faults.callbacks.always('drop');
    const placedAt = performance.now();
    await app.twilio.placeCall({ from: CALLER, to: BUSINESS_NUMBER });
    expect((await objective()).open).toBe(0);

    const waiting = await eventually(
      async () => {
        const shown = await objective();
        return shown.open === 1 ? shown : null;
      },
      { deadlineMs: 30_000, label: 'the waiting caller is in the objective' },
    );
    expect(waiting.p95).toBeGreaterThan(5);
    expect(ledger.messages).toHaveLength(0);
    // The tolls so far were refusals; now the text gets through, and the answer does not.
    faults.clear();
    faults.next('lost_response').callbacks.always('drop');

    const record = await settledText(app, CALLER, 20_000);
    expect(ledger.messagesTo(CALLER)).toHaveLength(1);
    const words = record.attempts.map(({ outcome, http_status }) => `${outcome} ${http_status}`);
    expect(words.slice(0, 2)).toEqual(['ambiguous timeout', 'ambiguous 500']);
    expect(words.length).toBeGreaterThan(3);
    expect(new Set(words.slice(2, -1))).toEqual(new Set(['not_processed 429']));
    expect(words.at(-1)).toBe('accepted network');
    expect(record.attempts.map(({ resend }) => resend)).toEqual([false, ...words.slice(1).map(() => true)]);
    expect(eventNames(record).filter((name) => name !== 'DeliveryUpdated')).toEqual(['OutboundSmsQueued']);

    const after = await objective();
    expect(after.open).toBe(0);
    expect(after.p95).toBeGreaterThan(5);
    expect(after.p95).toBeLessThan((performance.now() - placedAt) / 1_000);
  });
});

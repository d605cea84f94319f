import { SloCron } from '../../../src/reporting/slo/slo.cron.js';
import { eventually } from '../../support/eventually.js';
import { BUSINESS_NUMBER, TestApp } from '../../support/test-app.js';
import { settledText, textRecord } from '../../support/text-record.js';

const CALLER = '+14155551301';
const DELIVERY = `
  select d.finished, d.fence, d.last_error from infra.outbox_deliveries d join infra.outbox_events e using (event_id)
  where d.subscriber = 'conversation.first_reply' and e.payload ->> 'caller' = $1`;

describe('while PAUSE_OUTBOUND_SMS is on', () => {
  let paused: TestApp;
  beforeAll(async () => {
    paused = await TestApp.start({ env: { PAUSE_OUTBOUND_SMS: 'true' }, sendingTimings: { pausedLookMs: 50 } });
    await paused.onboard();
  });
  afterAll(() => paused.stop());

  it('nothing is sent, nothing is lost, the objective tells, and a process without it sends', async () => {
    await paused.twilio.placeCall({ from: CALLER, to: BUSINESS_NUMBER });
    await eventually(
      async () => {
        await paused.app.get(SloCron, { strict: false }).computeFirstSms();
        return (await paused.metric('slo_first_sms_open_breached_calls')) === 1;
      },
      { deadlineMs: 30_000, label: 'the waiting caller is in the objective' },
    );
    expect(await paused.metric('slo_first_sms_p95_seconds')).toBeGreaterThan(5);

    // Tried many times by now, and no try counted against it.
    const delivery = await eventually(() => paused.row(DELIVERY, [CALLER]).then((row) => row ?? null), {
      label: 'the delivery waits',
    });
    expect(delivery).toMatchObject({ finished: 0, last_error: 'outbound_paused' });
    expect(delivery['fence']).toBeGreaterThan(10);
    expect(paused.twilio.ledger.requests).toEqual([]);
    expect(await textRecord(paused, CALLER)).toMatchObject({
      message: { state: 'requested', attempt: 0 },
      attempts: [],
      events: [],
    });
    expect(await paused.row('select count(*)::int from infra.outbox_dead_letters')).toEqual({ count: 0 });

    const open = await TestApp.start({ beside: paused, env: { OUTBOX_POLL_MS: '10' } });
    try {
      await paused.twilio.messageTo(CALLER, 1, 15_000);
      const record = await settledText(open, CALLER);
      expect(record.attempts.map(({ outcome }) => outcome)).toEqual(['accepted']);
      expect(paused.twilio.ledger.requests).toHaveLength(1);
    } finally {
      await open.stop();
    }
  });
});

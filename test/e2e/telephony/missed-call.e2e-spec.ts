import { eventually } from '../../support/eventually.js';
import { BUSINESS_NUMBER, CALLER, TestApp } from '../../support/test-app.js';

describe('a missed call gets its text', () => {
  let app: TestApp;
  beforeAll(async () => {
    app = await TestApp.start();
    await app.onboard();
  });
  afterAll(() => app.stop());

  it('answers with TwiML, sends one text with the business named, and closes the first response', async () => {
    const call = await app.twilio.placeCall({ from: CALLER, to: BUSINESS_NUMBER });
    expect(call.status).toBe(200);
    expect(call.twiml).toContain('<Hangup/>');

    const text = await app.twilio.messageTo(CALLER);
    expect(text.params).toMatchObject({ To: CALLER, From: BUSINESS_NUMBER, ValidityPeriod: '300' });
    expect(text.params.Body).toContain("Joe's Plumbing");
    expect(text.params.Body).toContain('STOP');
    expect(text.params.StatusCallback).toMatch(
      new RegExp(`^${app.baseUrl}/webhooks/twilio/sms-status\\?m=[0-9a-f-]{36}&a=1$`),
    );

    await app.twilio.callbackFor(text.sid, 'delivered');
    const response = await eventually(
      () =>
        app
          .row('select * from reporting.first_responses where message_sid = $1', [text.sid])
          .then((row) => row ?? null),
      { label: 'the tracker closes the first response' },
    );
    expect(response['first_sms_at'].getTime()).toBeGreaterThanOrEqual(response['detected_at'].getTime());
    expect(app.twilio.ledger.messagesTo(CALLER)).toHaveLength(1);
  });
});

import { eventually } from '../../support/eventually.js';
import { BUSINESS_NUMBER, TestApp } from '../../support/test-app.js';

describe('what became of our texts, counted', () => {
  let app: TestApp;
  beforeAll(async () => {
    app = await TestApp.start();
    await app.onboard();
  });
  afterEach(() => app.twilio.faults.clear());
  afterAll(() => app.stop());

  const inState = (status: string) => app.metric(`twilio_messages_total{status="${status}"}`);
  const failedWith = (code: string) => app.metric(`twilio_message_failures_total{error_code="${code}"}`);
  const call = (from: string) => app.twilio.placeCall({ from, to: BUSINESS_NUMBER });
  const stop = (from: string) => app.twilio.inboundSms({ from, to: BUSINESS_NUMBER, body: 'STOP' });
  const counted = (label: string, assertion: () => Promise<void>) => eventually(assertion, { label });

  it('a delivered text is queued, sent and delivered once each, and no failure', async () => {
    await call('+14155550181');
    await counted('the whole way is counted', async () => {
      for (const status of ['queued', 'sent', 'delivered']) expect(await inState(status)).toBe(1);
    });
    for (const status of ['failed', 'undelivered', 'other']) expect(await inState(status)).toBe(0);
    expect(await failedWith('none')).toBe(0);
  });

  it('an undelivered text is counted by the code that we know', async () => {
    app.twilio.outcome('+14155550182', { status: 'undelivered', errorCode: 30003 });
    await call('+14155550182');
    await counted('the loss is counted', async () => expect(await failedWith('30003')).toBe(1));
    expect(await inState('undelivered')).toBe(1);
  });

  it('a code that the provider made up since is counted as other', async () => {
    app.twilio.outcome('+14155550183', { status: 'undelivered', errorCode: 39_999 });
    await call('+14155550183');
    await counted('the loss is counted', async () => expect(await failedWith('other')).toBe(1));
  });

  it('a text that the provider refuses is failed, and was never queued', async () => {
    const queued = await inState('queued');
    app.twilio.faults.always({ kind: 'reject', status: 400, code: 21211 }, { to: '+14155550184' });
    await call('+14155550184');
    await counted('the refusal is counted', async () => expect(await failedWith('21211')).toBe(1));
    expect(await inState('failed')).toBe(1);
    expect(await inState('queued')).toBe(queued);
  });

  it('a person who opts out is counted once, however often they say so', async () => {
    expect(await app.metric('compliance_opt_outs_total')).toBe(0);
    await stop('+14155550185');
    await stop('+14155550185');
    await stop('+14155550186');
    await counted('both people are counted', async () => expect(await app.metric('compliance_opt_outs_total')).toBe(2));
    const { rows } = await app.db.query(`select 1 from infra.outbox_events where event_name ~ 'OptOutRecorded'`);
    expect(rows).toHaveLength(2);
  });
});

import pg from 'pg';
import { eventually } from '../../support/eventually.js';
import { BUSINESS_NUMBER, TestApp } from '../../support/test-app.js';
import { eventNames, settledText } from '../../support/text-record.js';

const CALLER = '+14155551701';

describe('a database that goes away while the provider is being asked', () => {
  let app: TestApp;
  let maintenance: pg.Client;
  beforeAll(async () => {
    app = await TestApp.start({ sendingTimings: { lookAtMs: { first_reply: [300, 1_000, 3_000, 15_000] } } });
    await app.onboard();
    maintenance = new pg.Client({ connectionString: process.env['TEST_POSTGRES_URL'] });
    await maintenance.connect();
  });
  afterAll(async () => {
    await maintenance.end();
    await app.stop();
  });

  it('loses what the answer said, and the text is found instead of sent again', async () => {
    const name = new URL(app.databaseUrl).pathname.slice(1);
    app.twilio.faults.next({ kind: 'latency', ms: 500 }).callbacks.always('drop');
    await app.twilio.placeCall({ from: CALLER, to: BUSINESS_NUMBER });
    await app.twilio.messageTo(CALLER);
    try {
      await maintenance.query(`alter database ${name} with allow_connections false`);
      await maintenance.query('select pg_terminate_backend(pid) from pg_stat_activity where datname = $1', [name]);
      const isLost = ({ message, subscriber }: Record<string, unknown>) =>
        message === 'event failed, will be retried' && subscriber === 'conversation.first_reply';
      await eventually(() => app.log.some(isLost), { deadlineMs: 30_000, label: 'the outcome cannot be recorded' });
      expect(app.log).toContainEqual(
        expect.objectContaining({ message: 'provider answered', endpoint: 'messages.create', status: '201' }),
      );
    } finally {
      await maintenance.query(`alter database ${name} with allow_connections true`);
    }
    const record = await settledText(app, CALLER, 20_000);
    expect(app.twilio.ledger.messagesTo(CALLER)).toHaveLength(1);
    expect(record.attempts).toMatchObject([{ outcome: 'accepted', resend: false }]);
    expect(eventNames(record).filter((event) => event === 'OutboundSmsQueued')).toHaveLength(1);
    expect(record.events[0]?.payload).toMatchObject({ evidence: 'reconciled' });
  }, 40_000);
});

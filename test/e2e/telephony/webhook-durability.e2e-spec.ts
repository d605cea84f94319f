import { newSid } from '../../../src/demo/simulators/twilio/ledger.js';
import { eventually } from '../../support/eventually.js';
import { TestApp } from '../../support/test-app.js';

const BUSINESS = '+12125550120';

/** Ways in which storing a webhook fails, each with its cure. */
const FAILURES: [what: string, breakIt: string, mendIt: string][] = [
  [
    'a table is not there',
    'alter table telephony.webhook_events rename to webhook_events_away',
    'alter table telephony.webhook_events_away rename to webhook_events',
  ],
  ['the commit is refused', failAtCommit(`raise exception 'not today'`), 'drop trigger at_commit on telephony.calls'],
  [
    'the connection breaks during the commit',
    failAtCommit('perform pg_terminate_backend(pg_backend_pid())'),
    'drop trigger at_commit on telephony.calls',
  ],
  [
    'an event cannot be recorded',
    'alter table infra.outbox_events rename to outbox_events_away',
    'alter table infra.outbox_events_away rename to outbox_events',
  ],
];

/** A deferred trigger runs inside COMMIT, after every statement of the transaction has succeeded. */
function failAtCommit(how: string): string {
  return `
    create or replace function at_commit() returns trigger language plpgsql as $$ begin ${how}; return null; end $$;
    create constraint trigger at_commit after insert or update on telephony.calls
      deferrable initially deferred for each row execute function at_commit()`;
}

describe('a webhook that cannot be stored', () => {
  let app: TestApp;
  beforeAll(async () => {
    app = await TestApp.start();
    await app.onboard({ numbers: [BUSINESS] });
  });
  afterAll(() => app.stop());

  it.each(FAILURES.map(([what, breakIt, mendIt], n) => ({ what, breakIt, mendIt, caller: `+1415555016${n}` })))(
    'is answered 503 while $what, and the retry leads to one text',
    async ({ breakIt, mendIt, caller }) => {
      const call = { from: caller, to: BUSINESS, callSid: newSid('CA') };
      const rowsOf = () =>
        app.row<Record<string, number>>(
          `select (select count(*)::int from telephony.webhook_events where parameters ->> 'From' = $1) as webhooks,
            (select count(*)::int from telephony.calls where caller = $1) as calls,
            (select count(*)::int from telephony.messages where caller = $1) as messages,
            (select count(*)::int from infra.outbox_events
              where event_name = 'nmc.telephony.CallDetected' and payload ->> 'caller' = $1) as events`,
          [caller],
        );

      // Delivery callbacks of earlier texts may fail as well; this counts the call's own.
      const refused = () =>
        app.log.filter(({ status, event_id }) => status === 503 && `${event_id}`.endsWith(call.callSid)).length;
      await app.db.query(breakIt);
      const failure = await app.twilio.placeCall(call);
      await eventually(() => refused() === 1, { label: 'the refusal is logged' });
      const retried = app.twilio.placeCall({ ...call, withRetries: 20 });
      await eventually(() => refused() > 1, { label: 'the first attempt failed' });
      await app.db.query(mendIt);

      expect(failure.status).toBe(503);
      expect(failure.headers['content-type']).toContain('application/problem+json');
      expect(JSON.parse(failure.body)).toEqual({
        type: 'about:blank',
        title: 'Not stored, please retry',
        status: 503,
        code: 'webhook.not_stored',
        correlation_id: failure.headers['x-correlation-id'],
      });

      const answer = await retried;
      expect([answer.status, answer.attempts > 1]).toEqual([200, true]);
      expect(answer.twiml).toContain('sending you a text message');
      await app.twilio.messageTo(caller);
      await eventually(async () => (await app.row('select 1 from infra.outbox_deliveries')) === undefined, {
        label: 'the outbox is empty',
      });
      expect(await rowsOf()).toEqual({ webhooks: 1, calls: 1, messages: 1, events: 1 });
      expect(app.twilio.ledger.messagesTo(caller)).toHaveLength(1);
    },
  );
});

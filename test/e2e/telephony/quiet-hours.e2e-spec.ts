import { OutboxCron } from '../../../src/infra/outbox/outbox.cron.js';
import { eventually } from '../../support/eventually.js';
import { TestApp } from '../../support/test-app.js';

const AWAKE = '+12125550150';
const ASLEEP = '+13105550151';
const ZONE = 'America/Los_Angeles';
const HOUR_MS = 3_600_000;

const wallClock = (at: Date) =>
  at.toLocaleTimeString('en-GB', { timeZone: ZONE, hour: '2-digit', minute: '2-digit', hourCycle: 'h23' });

describe('the quiet hours of a business', () => {
  /** Takes webhooks, and delivers nothing. */
  let web: TestApp;
  let worker: TestApp;
  const quietHours = {
    start: wallClock(new Date(Date.now() - HOUR_MS)),
    end: wallClock(new Date(Date.now() + 2 * HOUR_MS)),
  };

  beforeAll(async () => {
    web = await TestApp.start({ env: { ROLE: 'web' } });
    await web.onboard({ numbers: [AWAKE] });
    await web.onboard({ numbers: [ASLEEP], time_zone: ZONE, first_reply_quiet_hours: quietHours });
  });
  afterAll(async () => {
    await worker?.stop();
    await web.stop();
  });

  async function backlog() {
    await web.app.get(OutboxCron).readBacklog();
    return { lag: await web.metric('outbox_dispatch_lag_seconds'), depth: await web.metric('worker_queue_depth') };
  }

  /** A text in the provider's hands may not be recorded here yet, and that is an event again: so not at once. */
  const noBacklog = () =>
    eventually(async () => Object.values(await backlog()).every((figure) => figure === 0), {
      label: 'neither lag nor depth',
    });

  const scheduled = (caller: string) =>
    web.row<{ subscriber: string; due_at: Date; available_at: Date }>(
      `select subscriber, due_at, available_at from infra.outbox_deliveries
       join infra.outbox_events using (event_id, event_name)
       where event_name = 'nmc.telephony.CallReplyDeferred' and payload ->> 'caller' = $1`,
      [caller],
    );

  /** Nothing is due any more, though something may be scheduled. */
  async function settled(): Promise<void> {
    const due = () => web.row('select 1 from infra.outbox_deliveries where due_at <= now()');
    await eventually(async () => (await due()) === undefined, { label: 'all due deliveries are done' });
  }

  async function callAtNight(from: string) {
    const { callSid, status } = await web.twilio.placeCall({ from, to: ASLEEP });
    expect(status).toBe(200);
    const call = await web.row<{ decision: string; reason: string; deferred_until: Date | null }>(
      'select decision, reason, deferred_until from telephony.calls where call_sid = $1',
      [callSid],
    );
    return { ...call, callSid };
  }

  /** Hours go by. */
  async function comesDue(caller: string): Promise<void> {
    const { rowCount } = await web.db.query(
      `update infra.outbox_deliveries d set due_at = now(), available_at = now() from infra.outbox_events e
       where e.event_id = d.event_id and e.event_name = 'nmc.telephony.CallReplyDeferred' and payload ->> 'caller' = $1`,
      [caller],
    );
    expect(rowCount).toBe(1);
  }

  it('defer the reply to their end, which is neither lag nor backlog', async () => {
    const caller = '+14155550180';
    const call = await callAtNight(caller);
    expect(call).toMatchObject({ decision: 'defer', reason: 'tenant_quiet_hours' });
    const until = call.deferred_until ?? new Date(0);
    expect(until.getTime()).toBeGreaterThan(Date.now() + HOUR_MS);
    expect(wallClock(until)).toBe(quietHours.end);
    expect(await scheduled(caller)).toEqual({
      subscriber: 'conversation.first_reply',
      due_at: until,
      available_at: until,
    });

    // What nobody delivers is a backlog, so that the figure below means something.
    await web.twilio.placeCall({ from: '+14155550181', to: AWAKE });
    const before = await backlog();
    const { rows } = await web.db.query('select event_name from infra.outbox_deliveries');
    expect(before.depth).toBe(rows.length - 1);
    expect(before.depth).toBeGreaterThan(0);
    expect(before.lag).toBeGreaterThan(0);

    worker = await TestApp.start({ beside: web });
    await web.twilio.messageTo('+14155550181');
    await settled();
    await noBacklog();
    expect(await scheduled(caller)).toBeDefined();
    expect(web.twilio.ledger.messagesTo(caller)).toEqual([]);
  });

  it('end, and the text goes out, outside of the objective', async () => {
    const caller = '+14155550180';
    await comesDue(caller);
    const text = await web.twilio.messageTo(caller);
    expect(text.body).toContain('Sorry we missed your call');
    const response = await eventually(
      async () => (await web.row('select * from reporting.first_responses where message_sid = $1', [text.sid])) ?? null,
      { label: 'the tracker closes the first response' },
    );
    expect(response).toMatchObject({
      trigger_kind: 'call',
      excluded_reason: 'tenant_quiet_hours',
      failed_reason: null,
    });
    await settled();
    expect(web.twilio.ledger.messagesTo(caller)).toHaveLength(1);
  });

  it('do not outlast an opt-out', async () => {
    const caller = '+14155550182';
    await callAtNight(caller);
    await web.twilio.inboundSms({ from: caller, to: ASLEEP, body: 'Stop' });
    await comesDue(caller);
    await eventually(
      () =>
        web
          .row(`select 1 from telephony.messages where caller = $1 and state = 'failed'`, [caller])
          .then((row) => row ?? null),
      {
        label: 'the text is given up',
      },
    );
    await settled();
    expect(web.twilio.ledger.messagesTo(caller)).toEqual([]);
    expect(
      await web.row(
        'select failed_reason, excluded_reason, first_sms_at from reporting.first_responses join telephony.calls on call_id = trigger_id where caller = $1',
        [caller],
      ),
    ).toEqual({ failed_reason: 'opted_out', excluded_reason: 'opted_out', first_sms_at: null });
  });

  it('promise one text, however often and however much later the caller calls again', async () => {
    const caller = '+14155550183';
    expect(await callAtNight(caller)).toMatchObject({ decision: 'defer' });
    expect(await callAtNight(caller)).toMatchObject({ decision: 'suppress', reason: 'repeat' });
    // An hour passes and more: longer than the repeat window, shorter than the quiet hours.
    await web.db.query(
      `update telephony.reply_windows set opened_at = opened_at - interval '70 minutes' where caller = $1`,
      [caller],
    );
    expect(await callAtNight(caller)).toMatchObject({ decision: 'suppress', reason: 'repeat' });
  });

  it('do not hold up a text that the caller sends meanwhile', async () => {
    const caller = '+14155550184';
    await callAtNight(caller);
    const text = await web.twilio.inboundSms({ from: caller, to: ASLEEP, body: 'Water everywhere!' });
    expect(text.status).toBe(200);
    await settled();
    expect(await web.row('select 1 from conversation.threads where caller = $1', [caller])).toBeDefined();
    await noBacklog();
    expect(await scheduled(caller)).toBeDefined();
  });
});

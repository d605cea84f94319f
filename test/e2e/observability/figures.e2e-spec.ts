import { METRICS, type MetricName } from '../../../src/common/metrics/catalogue.js';
import { DatabaseCron } from '../../../src/infra/database/database.cron.js';
import { OutboxCron } from '../../../src/infra/outbox/outbox.cron.js';
import { LedgerCron } from '../../../src/reporting/ledger/ledger.cron.js';
import { SloCron } from '../../../src/reporting/slo/slo.cron.js';
import { eventually } from '../../support/eventually.js';
import { BUSINESS_NUMBER, TestApp } from '../../support/test-app.js';

const ASLEEP = '+13105550159';
const TARGETS = {
  first_sms: { target: 0.95, seconds: 5 },
  first_sms_60s: { target: 0.995, seconds: 60 },
  booking_api: { target: 0.95, seconds: 0.5 },
} as const;
/** They tell of the sessions and transactions of the moment itself: whoever asks again gets another answer. */
const OF_THE_MOMENT = ['db_oldest_snapshot_age_seconds', 'db_oldest_xmin_age_transactions'];
const PERIOD_SECONDS = 30 * 86_400;

/** A missed call or an opening text, and what became of it, by telephony's own tables: reporting's are not asked. */
interface Trigger {
  reply: boolean;
  reason: string | null;
  /** Seconds to acceptance; null without one. */
  latency: number | null;
  age: number;
}
const TRIGGERS = `
  with triggers as (
    select call_id as id, missed_at as at, decision, reason from telephony.calls where missed_at is not null
    union all
    select (payload ->> 'message_id')::uuid, (payload ->> 'received_at')::timestamptz, payload ->> 'decision', payload ->> 'reason'
    from infra.outbox_events where event_name = 'nmc.telephony.InboundSmsReceived' and payload ->> 'decision' <> 'none'
  )
  select decision = 'reply' as reply, reason, extract(epoch from accepted_at - at)::float8 as latency,
    extract(epoch from clock_timestamp() - at)::float8 as age
  from triggers left join telephony.messages on trigger_id = id and direction = 'outbound'`;

type Figures = Record<string, Record<string, number>>;

describe('no figure differs from what the database says', () => {
  let app: TestApp;
  beforeAll(async () => {
    app = await TestApp.start();
    await app.onboard();
    const clock = (hours: number) =>
      new Date(Date.now() + hours * 3_600_000).toLocaleTimeString('en-GB', {
        timeZone: 'America/Los_Angeles',
        hour: '2-digit',
        minute: '2-digit',
        hourCycle: 'h23',
      });
    const quiet = { start: clock(-1), end: clock(2) };
    await app.onboard({ numbers: [ASLEEP], time_zone: 'America/Los_Angeles', first_reply_quiet_hours: quiet });
    await traffic();
  }, 60_000);
  afterAll(() => app.stop());

  const settled = () =>
    eventually(
      async () => (await app.row('select 1 from infra.outbox_deliveries where due_at <= now()')) === undefined,
      { label: 'nothing is due any more', deadlineMs: 20_000 },
    );

  /** Sent and delivered, lost, refused, suppressed twice over, deferred, opted out, by text, and a dead letter. */
  async function traffic(): Promise<void> {
    const call = (from: string, to = BUSINESS_NUMBER) => app.twilio.placeCall({ from, to });
    app.twilio.outcome('+14155550143', { status: 'undelivered', errorCode: 30003 });
    app.twilio.faults.always({ kind: 'reject', status: 400, code: 21211 }, { to: '+14155550144' });
    for (const n of [1, 2, 3, 4]) await call(`+1415555014${n}`);
    await call('+14155550141');
    await call('anonymous');
    await call('+14155550145', ASLEEP);
    await app.twilio.inboundSms({ from: '+14155550146', to: BUSINESS_NUMBER, body: 'Is anybody there?' });
    await app.twilio.inboundSms({ from: '+14155550147', to: BUSINESS_NUMBER, body: 'STOP' });
    await call('+14155550147');
    await app.db.query(`
      with event as (
        insert into infra.outbox_events (event_id, event_name, schema_version, tenant_id, occurred_at, correlation_id, ordering_key, payload)
        values (gen_random_uuid(), 'nmc.telephony.CallDetected', '1.0.0', gen_random_uuid(), now(), gen_random_uuid(), 'dead', '{}')
        returning *
      )
      insert into infra.outbox_deliveries (event_id, event_name, subscriber, tenant_id, ordering_key, lane, due_at, available_at)
      select event_id, event_name, 'conversation.gone', tenant_id, ordering_key, infra.outbox_lane('conversation.gone', ordering_key), now(), now() from event`);
    await eventually(async () => (await app.row('select 1 from infra.outbox_dead_letters')) !== undefined, {
      label: 'the delivery that nobody takes is dead',
      deadlineMs: 20_000,
    });
    for (const n of [1, 2, 6]) {
      const text = await app.twilio.messageTo(`+1415555014${n}`);
      await app.twilio.callbackFor(text.sid, 'delivered');
    }
    const lost = await app.twilio.messageTo('+14155550143');
    await app.twilio.callbackFor(lost.sid, 'undelivered');
    await settled();
  }

  async function collect(): Promise<void> {
    const slo = app.app.get(SloCron, { strict: false });
    await slo.computeFirstSms();
    await slo.computeBooking();
    await slo.computeBudgets();
    await slo.readProjectorLag();
    await app.app.get(LedgerCron, { strict: false }).publish();
    await app.app.get(OutboxCron, { strict: false }).readBacklog();
    await app.app.get(OutboxCron, { strict: false }).readTable();
    await app.app.get(DatabaseCron, { strict: false }).readServer();
  }

  /** What is served of a scope: by name, then by labels as they are written (`''` without any). */
  async function served(scope: 'shared' | 'process'): Promise<Figures> {
    const { text } = await app.http.get(`/metrics?scope=${scope}`).auth('metrics', 'metrics').expect(200);
    const figures: Figures = {};
    for (const [, name = '', labels = '', value] of text.matchAll(/^(\w+)(?:\{([^}]*)\})? (\S+)$/gm)) {
      figures[name] ??= {};
      figures[name][labels] = Number(value);
    }
    return figures;
  }

  const count = async (sql: string) => (await app.row<{ n: number }>(`select count(*)::int as n from ${sql}`))?.n ?? 0;
  const counts = async (sql: string) => (await app.db.query<{ value: string; n: number }>(sql)).rows;
  /** Every value that a label has, those without rows at zero. */
  const byLabel = (name: MetricName, label: string, rows: { value: string; n: number }[]) =>
    Object.fromEntries(
      ((METRICS[name].labels?.[label] ?? []) as readonly string[]).map((value) => [
        `${label}="${value}"`,
        rows.find((row) => row.value === value)?.n ?? 0,
      ]),
    );

  function budgets(eligible: Trigger[]): Figures {
    const figures: Figures = {};
    const set = (name: string, labels: string, value: number) => {
      figures[name] = { ...figures[name], [labels]: value };
    };
    // Nothing books yet.
    const requests = { first_sms: eligible, first_sms_60s: eligible, booking_api: [] };
    for (const [slo, { target, seconds }] of Object.entries(TARGETS)) {
      const decided = requests[slo as keyof typeof requests].filter(
        ({ latency, age }) => latency !== null || age > seconds,
      );
      const bad = decided.filter(({ latency }) => latency === null || latency > seconds).length;
      const burn = decided.length === 0 ? 0 : bad / decided.length / (1 - target);
      const remaining = 1 - burn;
      set('slo_error_budget_remaining_ratio', `slo="${slo}"`, remaining);
      const left = remaining <= 0 ? 0 : bad === 0 ? Number.NaN : (remaining * PERIOD_SECONDS) / burn;
      set('slo_error_budget_exhaustion_seconds', `slo="${slo}"`, left);
      for (const window of ['5m', '30m', '1h', '6h', '3d']) {
        set('slo_burn_rate', `slo="${slo}",window="${window}"`, burn);
        set('slo_bad_calls', `slo="${slo}",window="${window}"`, bad);
      }
    }
    return figures;
  }

  async function expected(): Promise<Figures> {
    const { rows } = await app.db.query<Trigger>(TRIGGERS);
    const eligible = rows.filter(({ reply }) => reply);
    const decided = eligible.filter(({ latency, age }) => latency !== null || age >= 5);
    const good = decided.filter(({ latency }) => latency !== null && latency <= 5).length;
    const excluded = rows.filter(({ reply }) => !reply);
    const settings = await app.row<{ n: number }>(
      `select setting::int as n from pg_settings where name = 'max_connections'`,
    );
    const dead = await app.row<{ n: number }>(
      `select n_dead_tup::int as n from pg_stat_all_tables where schemaname = 'infra' and relname = 'outbox_deliveries'`,
    );
    return {
      ...budgets(eligible),
      slo_first_sms_p95_seconds: { '': Math.max(...decided.map(({ latency, age }) => latency ?? age)) },
      slo_first_sms_window_calls: { '': decided.length },
      slo_first_sms_open_breached_calls: { '': decided.filter(({ latency }) => latency === null).length },
      slo_first_sms_events_total: { 'result="good"': good, 'result="bad"': decided.length - good },
      slo_first_sms_bad_total: byLabel(
        'slo_first_sms_bad_total',
        'stage',
        await counts(
          `select bad_stage as value, count(*)::int as n from reporting.first_responses where bad_stage is not null group by 1`,
        ),
      ),
      slo_first_sms_excluded_total: byLabel(
        'slo_first_sms_excluded_total',
        'reason',
        excluded.map(({ reason }) => ({
          value: reason ?? '',
          n: excluded.filter((one) => one.reason === reason).length,
        })),
      ),
      booking_post_p95_ms: { '': Number.NaN },
      slo_booking_api_events_total: byLabel('slo_booking_api_events_total', 'result', []),
      slo_booking_api_excluded_total: byLabel('slo_booking_api_excluded_total', 'reason', []),
      outbox_dispatch_lag_seconds: { '': 0 },
      worker_queue_depth: { '': await count('infra.outbox_deliveries where due_at <= now()') },
      outbox_dead_letters: { '': await count('infra.outbox_dead_letters') },
      outbox_dead_tuples: { '': dead?.n ?? Number.NaN },
      reporting_projector_lag_seconds: { '': 0 },
      kpi_calls_detected_total: { '': await count('telephony.calls where missed_at is not null') },
      kpi_conversations_started_total: { '': await count('conversation.threads') },
      // Nothing books or pays yet: zero, and there, so that the first one is seen.
      kpi_appointments_booked_total: { '': 0 },
      kpi_attributed_revenue_cents_total: { '': 0 },
      kpi_refunded_revenue_cents_total: { '': 0 },
      db_server_connections_max: { '': settings?.n ?? 0 },
    };
  }

  /** An age goes on while we look; what both looks agree on must be served exactly. */
  async function agree(): Promise<Figures> {
    return eventually(
      async () => {
        const before = await expected();
        await collect();
        const shown = await served('shared');
        const after = await expected();
        const { slo_first_sms_p95_seconds: p95, ...others } = shown;
        const { slo_first_sms_p95_seconds: least, ...figures } = before;
        for (const [name, samples] of Object.entries(figures)) {
          const close = Object.entries(samples).map(([labels, n]) => [
            labels,
            Number.isNaN(n) ? n : expect.closeTo(n, 6),
          ]);
          expect({ [name]: others[name] }).toEqual({ [name]: Object.fromEntries(close) });
        }
        expect(p95?.['']).toBeGreaterThan((least?.[''] ?? Number.NaN) - 0.01);
        expect(p95?.['']).toBeLessThan((after['slo_first_sms_p95_seconds']?.[''] ?? Number.NaN) + 0.01);
        return shown;
      },
      { label: 'the figures are what the database says', deadlineMs: 20_000 },
    );
  }

  it('of all that the database tells, in every label', async () => {
    const shared = Object.entries(METRICS).filter(
      ([name, { scope }]) => scope === 'shared' && !OF_THE_MOMENT.includes(name),
    );
    await eventually(async () => (await app.db.query<Trigger>(TRIGGERS)).rows.every(({ age }) => age > 5), {
      label: 'the refused call is late',
      deadlineMs: 20_000,
    });
    const shown = await agree();
    expect(Object.keys(await expected()).sort()).toEqual(shared.map(([name]) => name).sort());
    expect(
      Object.keys(shown)
        .filter((name) => !OF_THE_MOMENT.includes(name))
        .sort(),
    ).toEqual(shared.map(([name]) => name).sort());
    // That it was worth comparing: each kind of fate is there.
    const excluded = Object.entries(shown['slo_first_sms_excluded_total'] ?? {}).filter(([, n]) => n > 0);
    expect(excluded.map(([labels]) => labels).sort()).toEqual([
      'reason="opted_out"',
      'reason="repeat"',
      'reason="tenant_quiet_hours"',
      'reason="withheld"',
    ]);
    expect(shown['slo_first_sms_open_breached_calls']).toEqual({ '': 1 });
    expect(shown['slo_first_sms_bad_total']?.['stage="provider"']).toBeGreaterThanOrEqual(1);
    expect(shown['outbox_dead_letters']).toEqual({ '': 1 });
  });

  it('of what this process counted of texts, suppressed calls and people who said stop', async () => {
    const shown = await served('process');
    const inState = (state: string) => count(`telephony.messages where direction = 'outbound' and state = '${state}'`);
    expect(shown['twilio_messages_total']).toMatchObject({
      'status="queued"': await count(`telephony.messages where direction = 'outbound' and accepted_at is not null`),
      'status="delivered"': await inState('delivered'),
      'status="undelivered"': await inState('undelivered'),
      'status="failed"': await inState('failed'),
      'status="other"': 0,
    });
    expect(shown['twilio_message_failures_total']).toEqual(
      byLabel(
        'twilio_message_failures_total',
        'error_code',
        await counts(
          `select error_code::text as value, count(*)::int as n from telephony.messages where error_code is not null group by 1`,
        ),
      ),
    );
    expect(shown['telephony_replies_suppressed_total']).toEqual(
      byLabel(
        'telephony_replies_suppressed_total',
        'reason',
        await counts(
          `select reason as value, count(*)::int as n from telephony.calls where decision = 'suppress' group by 1`,
        ),
      ),
    );
    expect(shown['compliance_opt_outs_total']).toEqual({
      '': await count(`compliance.consent_ledger where kind = 'opt_out'`),
    });
  });

  it('after every event was delivered to reporting once more', async () => {
    const replayed = await app.db.query(`
      insert into infra.outbox_deliveries (event_id, event_name, subscriber, tenant_id, ordering_key, lane, due_at, available_at)
      select e.event_id, e.event_name, h.subscriber, e.tenant_id, e.ordering_key,
        infra.outbox_lane(h.subscriber, e.ordering_key), now(), now()
      from infra.outbox_history h join infra.outbox_events e using (event_id)
      where h.subscriber in ('reporting.kpi_ledger', 'reporting.first_response')`);
    expect(replayed.rowCount).toBeGreaterThan(15);
    await settled();
    await agree();
  });

  it('or it is noticed: a row that nobody was told of makes a difference', async () => {
    await app.db.query(`insert into conversation.threads (thread_id, tenant_id, caller, business_number)
      values (gen_random_uuid(), gen_random_uuid(), '+14155550149', '${BUSINESS_NUMBER}')`);
    await collect();
    const shown = await served('shared');
    expect(shown['kpi_conversations_started_total']).not.toEqual((await expected())['kpi_conversations_started_total']);
  });
});

import { randomUUID } from 'node:crypto';
import { LedgerCron } from '../../../src/reporting/ledger/ledger.cron.js';
import { FIRST_SMS_WINDOW } from '../../../src/reporting/slo/first-sms.queries.js';
import { SloCron } from '../../../src/reporting/slo/slo.cron.js';
import { eventually } from '../../support/eventually.js';
import { BUSINESS_NUMBER, TestApp } from '../../support/test-app.js';

describe('error budget and totals', () => {
  let app: TestApp;
  let twin: TestApp;
  let tenantId: string;
  beforeAll(async () => {
    app = await TestApp.start();
    twin = await TestApp.start({ beside: app });
    tenantId = await app.onboard();
  });
  afterAll(async () => {
    await twin.stop();
    await app.stop();
  });
  afterEach(() =>
    app.db.query(
      'truncate reporting.first_responses, reporting.slo_buckets, reporting.slo_exclusions, reporting.ledger',
    ),
  );

  async function call(ago: number, latency: number | null, excluded: string | null = null): Promise<string> {
    const id = randomUUID();
    await app.db.query(
      `insert into reporting.first_responses (trigger_id, tenant_id, correlation_id, trigger_kind, detected_at, first_sms_at,
        excluded_reason)
       select $1, $5, $1, 'call', at, at + $3::float8 * interval '1 second', $4
       from (select clock_timestamp() - $2::float8 * interval '1 second' as at) clock`,
      [id, ago, latency, excluded, tenantId],
    );
    return id;
  }
  const compute = (which = app) => which.app.get(SloCron, { strict: false }).computeBudgets();
  async function filed(slo: string) {
    return app.row(
      'select coalesce(sum(good), 0)::int as good, coalesce(sum(bad), 0)::int as bad from reporting.slo_buckets where slo = $1',
      [slo],
    );
  }

  it('judges each call once per objective, whoever computes and how often', async () => {
    await call(60, 2);
    await call(60, 7);
    await call(60, 90);
    await call(90, null);
    await call(3, null);
    await call(60, null, 'opted_out');
    await Promise.all([compute(app), compute(twin), compute(app), compute(twin)]);
    await compute();
    expect(await filed('first_sms')).toEqual({ good: 1, bad: 3 });
    expect(await filed('first_sms_60s')).toEqual({ good: 2, bad: 2 });
  });

  it('holds to a verdict: a text that comes after the threshold does not make a bad call good', async () => {
    const id = await call(30, null);
    await compute();
    await app.db.query('update reporting.first_responses set first_sms_at = clock_timestamp() where trigger_id = $1', [
      id,
    ]);
    await compute();
    expect(await filed('first_sms')).toEqual({ good: 0, bad: 1 });
    expect(await filed('first_sms_60s')).toEqual({ good: 1, bad: 0 });
  });

  it('shows the burn of each window and what is left', async () => {
    for (let i = 0; i < 19; i++) await call(60, 1);
    await call(60, 9);
    for (let i = 0; i < 20; i++) await call(2 * 3600, 1);
    await compute();
    expect(await app.metric('slo_burn_rate{slo="first_sms",window="1h"}')).toBeCloseTo(1);
    expect(await app.metric('slo_burn_rate{slo="first_sms",window="6h"}')).toBeCloseTo(0.5);
    expect(await app.metric('slo_burn_rate{slo="first_sms_60s",window="1h"}')).toBe(0);
    expect(await app.metric('slo_error_budget_remaining_ratio{slo="first_sms"}')).toBeCloseTo(0.5);
    expect(await app.metric('slo_bad_calls{slo="first_sms",window="1h"}')).toBe(1);
    expect(await app.metric('slo_bad_calls{slo="first_sms_60s",window="3d"}')).toBe(0);
    // Half of 30 days, at half the pace that spends them.
    expect(await app.metric('slo_error_budget_exhaustion_seconds{slo="first_sms"}')).toBeCloseTo(30 * 86_400);
    expect(await app.metric('slo_error_budget_exhaustion_seconds{slo="first_sms_60s"}')).toBeNaN();
  });

  it('counts what happened, once, and equal to the database on every replica', async () => {
    const calls = ['+14155550191', '+14155550192', '+14155550193'];
    const publish = (which: TestApp) => which.app.get(LedgerCron, { strict: false }).publish();
    await publish(app);
    const before = (await app.metric('kpi_calls_detected_total')) ?? 0;
    for (const from of calls) await app.twilio.placeCall({ from, to: BUSINESS_NUMBER });
    await app.twilio.placeCall({ from: 'anonymous', to: BUSINESS_NUMBER });
    await eventually(
      async () => {
        expect(
          await app.row(`select sum(total)::int as n from reporting.ledger where metric = 'kpi_calls_detected_total'`),
        ).toEqual({ n: 4 });
        expect(
          await app.row(
            `select sum(total)::int as n from reporting.ledger where metric = 'kpi_conversations_started_total'`,
          ),
        ).toEqual({ n: 3 });
        expect(
          await app.row(`select label, total::int from reporting.ledger where metric = 'slo_first_sms_excluded_total'`),
        ).toEqual({ label: 'withheld', total: 1 });
        expect(await app.row('select tenant_id, reason, calls from reporting.slo_exclusions')).toEqual({
          tenant_id: tenantId,
          reason: 'withheld',
          calls: 1,
        });
      },
      { label: 'the ledger has counted' },
    );
    // Totals of earlier tests were truncated away: the counter stays where it was rather than going down.
    await publish(app);
    expect(await app.metric('kpi_calls_detected_total')).toBe(Math.max(before, 4));
    expect(await app.metric('slo_first_sms_excluded_total{reason="withheld"}')).toBe(1);
    expect(await app.metric('kpi_appointments_booked_total')).toBe(0);
  });

  it('never lets a total go down', async () => {
    await app.db.query(`insert into reporting.ledger values ('kpi_appointments_booked_total', '', 0, 5)`);
    await app.app.get(LedgerCron, { strict: false }).publish();
    await app.db.query(`update reporting.ledger set total = 3 where metric = 'kpi_appointments_booked_total'`);
    await app.app.get(LedgerCron, { strict: false }).publish();
    expect(await app.metric('kpi_appointments_booked_total')).toBe(5);
    await app.db.query(`update reporting.ledger set total = 8 where metric = 'kpi_appointments_booked_total'`);
    await app.app.get(LedgerCron, { strict: false }).publish();
    expect(await app.metric('kpi_appointments_booked_total')).toBe(8);
  });

  it('reads its windows by index', async () => {
    await app.db.query('set enable_seqscan = off');
    const { rows } = await app.db.query(`explain ${FIRST_SMS_WINDOW}`, [15, 5]);
    await app.db.query('reset enable_seqscan');
    const plan = rows.map((row) => row['QUERY PLAN']).join('\n');
    expect(plan).toContain('first_responses_window');
  });
});

import { METRICS } from '../../../src/common/metrics/catalogue.js';
import { DatabaseCron } from '../../../src/infra/database/database.cron.js';
import { ProcessUsageCron } from '../../../src/infra/metrics/process-usage.cron.js';
import { OutboxCron } from '../../../src/infra/outbox/outbox.cron.js';
import { SloCron } from '../../../src/reporting/slo/slo.cron.js';
import { eventually } from '../../support/eventually.js';
import { BUSINESS_NUMBER, TestApp } from '../../support/test-app.js';

const CALLER = '+14155550161';

describe('the scrape', () => {
  let app: TestApp;
  beforeAll(async () => {
    app = await TestApp.start();
    await app.onboard();
    await app.twilio.placeCall({ from: CALLER, to: BUSINESS_NUMBER });
    const text = await app.twilio.messageTo(CALLER);
    await app.twilio.callbackFor(text.sid, 'delivered');
    await collect();
  });
  afterAll(() => app.stop());

  async function collect(): Promise<void> {
    await app.app.get(SloCron, { strict: false }).computeFirstSms();
    await app.app.get(SloCron, { strict: false }).computeBudgets();
    await app.app.get(SloCron, { strict: false }).readProjectorLag();
    await app.app.get(OutboxCron, { strict: false }).readBacklog();
    await app.app.get(DatabaseCron, { strict: false }).readPool();
    await app.app.get(DatabaseCron, { strict: false }).readServer();
    await app.app.get(ProcessUsageCron, { strict: false }).readUsage();
  }

  async function scrape(query = ''): Promise<string> {
    const { text } = await app.http.get(`/metrics${query}`).auth('metrics', 'metrics').expect(200);
    return text;
  }

  it('serves every metric of the catalogue under its exact name, and none of ours beyond it', async () => {
    const text = await scrape();
    const typed = [...text.matchAll(/^# TYPE (\S+) (\S+)$/gm)].map(([, name, kind]) => [name, kind]);
    const served = Object.fromEntries(typed.filter(([name]) => !/^(process|nodejs)_/.test(name ?? '')));
    const declared = Object.fromEntries(Object.entries(METRICS).map(([name, { kind }]) => [name, kind]));
    expect(served).toEqual(declared);
  });

  it('has counted the journey: webhook, deliveries, provider', async () => {
    expect(
      await app.metric('integration_http_requests_total{provider="twilio",endpoint="messages.create",status="201"}'),
    ).toBe(1);
    expect(await app.metric('webhook_handler_duration_ms_count{provider="twilio",endpoint="voice",status="200"}')).toBe(
      1,
    );
    expect(
      await app.metric('http_request_duration_ms_count{route="/webhooks/twilio/voice",method="POST",status="200"}'),
    ).toBe(1);
    await eventually(
      async () => {
        // Once for each subscriber: the tracker and the funnel.
        expect(await app.metric('outbox_dispatch_attempts_total{event_name="nmc.telephony.OutboundSmsQueued"}')).toBe(
          2,
        );
        expect(await app.metric('first_sms_latency_ms_count')).toBe(1);
      },
      { label: 'the tracker has counted' },
    );
  });

  it('shows counters of what has not happened yet at zero, and a percentile of nothing as unknown', async () => {
    for (const name of [
      'scheduling_hold_success_total',
      'calendar_sync_errors_total',
      'scheduling_book_conflict_total',
    ])
      expect(await app.metric(name)).toBe(0);
    expect(await app.metric('scheduling_search_duration_ms_count')).toBe(0);
    await app.app.get(SloCron, { strict: false }).computeBooking();
    expect(await app.metric('booking_post_p95_ms')).toBeNaN();
  });

  it('tells how full the machine and the database server are, and how long a scrape takes', async () => {
    const { rows } = await app.db.query<{ max: number }>(`select current_setting('max_connections')::int as max`);
    expect(await app.metric('db_server_connections_max')).toBe(rows[0]?.max);
    expect(await app.metric('memory_utilization_percent')).toBeGreaterThan(0);
    expect(await app.metric('memory_utilization_percent')).toBeLessThan(100);
    expect(await app.metric('cpu_utilization_percent')).toBeGreaterThan(0);
    expect(await app.metric('nmc_scrape_duration_ms')).toBeGreaterThan(0);
    expect(await app.metric('nmc_scrape_duration_ms')).toBeLessThan(1_000);
  });

  it('tells the objective, its sample and that its collectors are alive', async () => {
    await eventually(
      async () => {
        await collect();
        expect(await app.metric('slo_first_sms_window_calls')).toBe(1);
      },
      { label: 'the call is in the window' },
    );
    const p95 = await app.metric('slo_first_sms_p95_seconds');
    expect(p95).toBeGreaterThan(0);
    expect(p95).toBeLessThan(5);
    expect(await app.metric('slo_first_sms_open_breached_calls')).toBe(0);
    expect(await app.metric('nmc_collector_up{collector="slo_first_sms"}')).toBe(1);
    expect(await app.metric('db_connections_max')).toBe(10);
  });

  it('labels by route template: a thousand URLs make one series', async () => {
    for (const path of ['/nowhere/1', '/nowhere/2?x=+14155550132', '/.env']) await app.http.get(path).expect(404);
    const text = await scrape();
    expect(text).not.toContain('nowhere');
    expect(await app.metric('http_request_duration_ms_count{route="unmatched",method="GET",status="404"}')).toBe(3);
  });

  it('splits what the process knows from what the database knows', async () => {
    const process = await scrape('?scope=process');
    const shared = await scrape('?scope=shared');
    expect(shared).toContain('slo_first_sms_p95_seconds');
    expect(shared).not.toContain('http_request_duration_ms');
    expect(process).toContain('http_request_duration_ms');
    expect(process).not.toContain('slo_first_sms_p95_seconds');
  });

  it('refuses whoever has no credentials', async () => {
    await app.http
      .get('/metrics')
      .expect(401)
      .expect('www-authenticate', /^Basic /);
    await app.http.get('/metrics').auth('metrics', 'wrong').expect(401);
  });

  it('drops a figure whose source is gone instead of showing the last one', async () => {
    await app.db.query('alter table reporting.first_responses rename to hidden');
    await collect();
    await collect();
    expect(await app.metric('slo_first_sms_p95_seconds')).toBeUndefined();
    expect(await app.metric('nmc_collector_up{collector="slo_first_sms"}')).toBe(0);
    const lines = (text: string) =>
      app.log.filter(({ task, message }) => task === 'reporting.slo_first_sms' && message === text);
    expect(lines('scheduled task fails')).toEqual([
      expect.objectContaining({
        level: 'error',
        module: 'reporting',
        correlation_id: expect.any(String),
        error_message: expect.stringContaining('first_responses'),
      }),
    ]);
    await app.db.query('alter table reporting.hidden rename to first_responses');
    await collect();
    expect(await app.metric('nmc_collector_up{collector="slo_first_sms"}')).toBe(1);
    expect(lines('scheduled task works again')).toHaveLength(1);
  });
});

import { jest } from '@jest/globals';
import { SchedulerRegistry } from '@nestjs/schedule';
import pg from 'pg';
import { DataSource, type QueryRunner } from 'typeorm';
import { COLLECTORS, METRICS, type MetricName } from '../../../src/common/metrics/catalogue.js';
import { poolOf } from '../../../src/infra/database/data-source.js';
import { eventually } from '../../support/eventually.js';
import { BUSINESS_NUMBER, TestApp } from '../../support/test-app.js';

const POOL = 3;
const MAX_BYTES = 500_000;
const MAX_SERIES = 3_000;

/** Those that ask no database. */
const OF_THE_PROCESS = ['db_pool', 'process_usage'] as const;

/** What the scrapers of this world ask for. */
const ACCEPTS: Record<string, string | undefined> = {
  'Prometheus 3':
    'application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,' +
    'text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2',
  'Prometheus 2':
    'application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1',
  'the Datadog agent': 'text/plain',
  'the Datadog agent, latest': 'application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1',
  curl: '*/*',
  nothing: undefined,
};

jest.setTimeout(120_000);

describe('the scrape under stress', () => {
  let app: TestApp;
  beforeAll(async () => {
    app = await TestApp.start({ env: { DB_POOL_MAX: String(POOL), LOG_LEVEL: 'silent' } });
    await app.onboard();
    await app.twilio.placeCall({ from: '+14155550281', to: BUSINESS_NUMBER });
    await app.twilio.messageTo('+14155550281');
    readNow();
    await eventually(async () => expect(missingFrom(await scrape())).toEqual([]), {
      label: 'every figure that has a source is there',
      deadlineMs: 30_000,
    });
  });
  afterAll(() => app.stop());

  async function scrape(query = '', accept?: string): Promise<string> {
    const headers = { authorization: `Basic ${btoa('metrics:metrics')}`, ...(accept && { accept }) };
    const answer = await app.app.inject({ url: `/metrics${query}`, headers });
    expect(answer.statusCode).toBe(200);
    expect(answer.headers['content-type']).toBe('text/plain; version=0.0.4; charset=utf-8');
    return answer.payload;
  }

  /** Names and labels of all samples but those of Node itself, whose open handles come and go. */
  function seriesOf(text: string): string[] {
    const lines = text.split('\n').filter((line) => !/^(#|nodejs_|process_|$)/.test(line));
    return lines.map((line) => line.replace(/ \S+$/, ''));
  }

  /** Figures of the catalogue without any sample; histograms and counters of open labels may have none yet. */
  function missingFrom(text: string): string[] {
    const names = new Set(seriesOf(text).map((series) => series.replace(/\{.*|_(bucket|count|sum)(\{.*|$)/, '')));
    const isOpen = (name: string) =>
      Object.values(METRICS[name as MetricName].labels ?? {}).some((values) => !Array.isArray(values));
    return Object.keys(METRICS).filter((name) => !names.has(name) && !isOpen(name));
  }

  /** The n-th request of a stranger: every method and kind of path in turn, never the same URL twice. */
  function strange(n: number) {
    const methods = [
      'GET',
      'POST',
      'PUT',
      'PATCH',
      'DELETE',
      'OPTIONS',
      'HEAD',
      'PROPFIND',
      'MKCOL',
      'SEARCH',
    ] as const;
    const tenant = `0190f3a2-0000-7000-8000-${String(n).padStart(12, '0')}`;
    const paths = [
      `/v1/tenants/${tenant}/calls`,
      `/ops/api/tenants/${tenant}`,
      `/wp-admin/${n}.php?tenant=${tenant}`,
      `/webhooks/twilio/voice?n=${n}`,
      `/webhooks/${tenant}/sms-inbound`,
      `/health/live/${n}`,
      `/metrics/${n}`,
      `/%E0%A4%A/${n}`,
      `/${'a/'.repeat(n % 40)}${n}`,
    ];
    const method = methods[n % methods.length] ?? 'GET';
    const withBody = ['POST', 'PUT', 'PATCH'].includes(method);
    return {
      method,
      url: paths[n % paths.length] ?? '/',
      headers: { 'x-tenant-id': tenant, ...(withBody && { 'content-type': 'application/x-www-form-urlencoded' }) },
      ...(withBody && { payload: `AccountSid=AC${n}&From=%2B1415555${n}` }),
    };
  }

  async function throwAtIt(from: number, to: number): Promise<Set<number>> {
    const statuses = new Set<number>();
    for (let n = from; n < to; n += 50) {
      const batch = Array.from({ length: 50 }, (_, i) => app.app.inject(strange(n + i)));
      for (const { statusCode } of await Promise.all(batch)) statuses.add(statusCode);
    }
    return statuses;
  }

  it('does not grow by what strangers send: 10,000 URLs, methods and tenants', async () => {
    // Every method with every kind of path once: from here on, nothing is new but the names.
    const statuses = await throwAtIt(0, 1_000);
    expect([...statuses].sort()).toEqual(expect.arrayContaining([400, 401, 403, 404]));
    const before = seriesOf(await scrape());
    await throwAtIt(1_000, 11_000);
    const text = await scrape();
    expect(seriesOf(text)).toEqual(before);
    expect(before.length).toBeLessThan(MAX_SERIES);
    expect(Buffer.byteLength(text)).toBeLessThan(MAX_BYTES);
    expect(text).not.toMatch(/0190f3a2|wp-admin|PROPFIND|MKCOL|AC1/);
    expect(text).toMatch(/http_request_duration_ms_count\{route="unmatched",method="_OTHER",status="404"\} \d{3,}/);
    expect(await app.metric('webhook_signature_failures_total{provider="twilio"}')).toBeGreaterThan(100);
  });

  it.each(Object.keys(ACCEPTS))('is the same plain text whoever asks, and after %s has asked first', async (first) => {
    const firstText = await scrape('', ACCEPTS[first]);
    const series = seriesOf(firstText);
    for (const accept of Object.values(ACCEPTS)) expect(seriesOf(await scrape('', accept))).toEqual(series);
    const counters = Object.entries(METRICS).filter(([, { kind }]) => kind === 'counter');
    for (const [name] of counters) expect(firstText).toContain(`# TYPE ${name} counter\n`);
    expect(firstText).toContain('\nwebhook_dedupe_hits_total{provider="twilio"} ');
    // Neither OpenMetrics' end, nor its exemplars, nor a counter's name without its suffix.
    expect(firstText).not.toMatch(/^# EOF|^[^#].* # \{|^webhook_dedupe_hits[ {]/m);
  });

  it('is in two parts, which have nothing in common and leave nothing out', async () => {
    const [whole, own, shared] = [await scrape(), await scrape('?scope=process'), await scrape('?scope=shared')];
    const parts = [...seriesOf(own), ...seriesOf(shared)];
    expect(new Set(parts).size).toBe(parts.length);
    expect(parts.sort()).toEqual(seriesOf(whole).sort());
    expect(seriesOf(await scrape('?scope=everything'))).toHaveLength(parts.length);
  });

  it('loses the figures of a collector that fails, and nothing else', async () => {
    const before = seriesOf(await scrape());
    await app.db.query('alter table reporting.slo_buckets rename to hidden');
    try {
      await isUp('slo_budget', 0);
      const gone = before.filter((series) => !seriesOf(lastText).includes(series));
      const names = new Set(gone.map((series) => series.replace(/\{.*/, '')));
      expect([...names]).toEqual(expect.arrayContaining(['slo_burn_rate', 'slo_error_budget_remaining_ratio']));
      expect([...names].filter((name) => !/^slo_(?!first_sms)/.test(name))).toEqual([]);
    } finally {
      await app.db.query('alter table reporting.hidden rename to slo_buckets');
    }
    await isUp('slo_budget', 1);
    expect(seriesOf(lastText)).toEqual(expect.arrayContaining(before));
  });

  it('asks the database nothing: with every connection taken it is whole, and nobody has waited for one', async () => {
    const jobs = [...app.app.get(SchedulerRegistry, { strict: false }).getCronJobs().values()];
    const dataSource = app.app.get(DataSource, { strict: false });
    const pool = poolOf(dataSource);
    const before = seriesOf(await scrape());
    // Only the scrape is left to want a connection.
    await Promise.all(jobs.map((job) => job.stop()));
    const held: QueryRunner[] = [];
    try {
      for (let n = 0; n < POOL; n++) {
        const runner = dataSource.createQueryRunner();
        await runner.connect();
        held.push(runner);
      }
      let asked = 0;
      const count = () => void asked++;
      pool.on('acquire', count);
      const texts = await Promise.all(Array.from({ length: 20 }, () => scrape()));
      pool.off('acquire', count);
      expect([asked, pool.waitingCount]).toEqual([0, 0]);
      for (const text of texts) expect(seriesOf(text)).toEqual(before);
    } finally {
      await Promise.all(held.map((runner) => runner.release()));
      for (const job of jobs) job.start();
    }
  });

  it('outlives the database: what is computed from it goes, what the process knows stays', async () => {
    const before = seriesOf(await scrape());
    const name = new URL(app.databaseUrl).pathname.slice(1);
    const maintenance = new pg.Client({ connectionString: process.env['TEST_POSTGRES_URL'] });
    await maintenance.connect();
    try {
      await maintenance.query(`alter database ${name} with allow_connections false`);
      await maintenance.query('select pg_terminate_backend(pid) from pg_stat_activity where datname = $1', [name]);
      readNow();
      const ofTheDatabase = COLLECTORS.filter((name) => !OF_THE_PROCESS.some((one) => one === name));
      expect(ofTheDatabase.length).toBeGreaterThanOrEqual(5);
      for (const collector of ofTheDatabase) await isUp(collector, 0);
      for (const collector of OF_THE_PROCESS) await isUp(collector, 1);
      const gone = new Set(
        before.filter((series) => !seriesOf(lastText).includes(series)).map((series) => series.replace(/\{.*/, '')),
      );
      const sharedGauges = Object.entries(METRICS)
        .filter(([, { kind, scope }]) => kind === 'gauge' && scope === 'shared')
        .map(([metric]) => metric);
      // No stale gauge looks healthy; a counter that went away and came back would look like a reset.
      expect([...gone].sort()).toEqual(
        sharedGauges.filter((metric) => before.some((s) => s.startsWith(metric))).sort(),
      );
    } finally {
      await maintenance.query(`alter database ${name} with allow_connections true`);
      await maintenance.end();
    }
    readNow();
    await eventually(async () => expect(seriesOf(await scrape())).toEqual(expect.arrayContaining(before)), {
      label: 'all figures are back',
      deadlineMs: 60_000,
    });
  });

  /** Without waiting for the slowest collector's turn. */
  function readNow(): void {
    const jobs = app.app.get(SchedulerRegistry, { strict: false }).getCronJobs();
    for (const job of jobs.values()) void job.fireOnTick();
  }

  let lastText = '';
  function isUp(collector: string, up: 0 | 1): Promise<unknown> {
    const sample = `\nnmc_collector_up{collector="${collector}"} ${up}\n`;
    return eventually(
      async () => {
        lastText = await scrape();
        return lastText.includes(sample);
      },
      { label: sample.trim(), deadlineMs: 50_000 },
    );
  }
});

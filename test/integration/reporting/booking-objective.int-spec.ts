import { randomUUID } from 'node:crypto';
import { jest } from '@jest/globals';
import { type Span, trace } from '@opentelemetry/api';
import pg from 'pg';
import type { BookingSample } from '../../../src/common/interceptors/booking-edge.js';
import { KEEP_ATTRIBUTE } from '../../../src/common/tracing/trace-keeper.js';
import { DatabaseAway } from '../../../src/infra/database/database.errors.js';
import { Database } from '../../../src/infra/database/database.js';
import { LedgerCron } from '../../../src/reporting/ledger/ledger.cron.js';
import { BOOKING_P95, FILE_BOOKINGS } from '../../../src/reporting/slo/booking.queries.js';
import { BookingSamples, MAX_HELD } from '../../../src/reporting/slo/booking-samples.service.js';
import { SloCron } from '../../../src/reporting/slo/slo.cron.js';
import { eventually } from '../../support/eventually.js';
import { Seeded } from '../../support/seeded.js';
import { TestApp } from '../../support/test-app.js';

const NOBODY = '00000000-0000-0000-0000-000000000000';
const JOE = randomUUID();
const ANN = randomUUID();

/** By row numbers, not by an aggregate: the least value that 95 % do not exceed. */
const INDEPENDENT_P95 = `
  select ms from (
    select case when failed and own_ms < 10000 then 10000 else own_ms end as ms, row_number() over (order by
      case when failed and own_ms < 10000 then 10000 else own_ms end) as n, count(*) over () as of
    from reporting.booking_samples where answered_at > now() - interval '15 minutes') ranked
  where n = ceil(0.95 * of)`;

describe('the objective of the booking API', () => {
  let app: TestApp;
  let twin: TestApp;
  let maintenance: pg.Client;
  beforeAll(async () => {
    app = await TestApp.start();
    twin = await TestApp.start({ beside: app });
    maintenance = new pg.Client({ connectionString: process.env['TEST_POSTGRES_URL'] });
    await maintenance.connect();
  });
  afterAll(async () => {
    await maintenance.end();
    await twin.stop();
    await app.stop();
  });
  afterEach(async () => {
    await samples(app).file();
    await samples(twin).file();
    await app.db.query(
      'truncate reporting.booking_samples, reporting.slo_buckets, reporting.slo_exclusions, reporting.ledger',
    );
  });

  const samples = (which: TestApp) => which.app.get(BookingSamples, { strict: false });
  const slo = (which = app) => which.app.get(SloCron, { strict: false });

  function answer(which: TestApp, ownMs: number, more: Partial<BookingSample> = {}): void {
    samples(which).take({
      status: 201,
      totalMs: ownMs + 100,
      ownMs,
      tenantId: JOE,
      correlationId: randomUUID(),
      ...more,
    });
  }
  const answers = (which: TestApp, count: number, ownMs: number, more: Partial<BookingSample> = {}) => {
    for (let i = 0; i < count; i++) answer(which, ownMs, more);
  };
  const filed = () =>
    app.row(`select coalesce(sum(good), 0)::int as good, coalesce(sum(bad), 0)::int as bad from reporting.slo_buckets
      where slo = 'booking_api'`);

  it('is unknown without bookings, never zero, and burns nothing', async () => {
    answer(app, 1, { status: 401, tenantId: undefined });
    await slo().computeBooking();
    await slo().computeBudgets();
    expect(await app.metric('booking_post_p95_ms')).toBeNaN();
    expect(await app.metric('slo_burn_rate{slo="booking_api",window="5m"}')).toBe(0);
    expect(await app.metric('slo_error_budget_remaining_ratio{slo="booking_api"}')).toBe(1);
    expect(await app.metric('slo_error_budget_exhaustion_seconds{slo="booking_api"}')).toBeNaN();
  });

  it('files every request once, by five minutes, tenant and reason, whichever replica answered', async () => {
    answers(app, 7, 20);
    answers(twin, 2, 700);
    answers(twin, 1, 30, { status: 409 });
    answer(app, 2, { status: 503, tenantId: undefined });
    answers(app, 3, 5, { tenantId: ANN });
    answers(app, 2, 1, { status: 401, tenantId: undefined });
    answer(twin, 1, { status: 401, tenantId: undefined });
    answer(twin, 1, { status: 400 });
    await Promise.all([samples(app), samples(twin), samples(app), samples(twin)].map((one) => one.file()));
    const { rows } = await app.db.query(
      `select tenant_id, sum(good)::int as good, sum(bad)::int as bad, bool_and(extract(epoch from bucket) % 300 = 0
         and bucket > now() - interval '10 minutes') as recent
       from reporting.slo_buckets where slo = 'booking_api' group by tenant_id`,
    );
    expect(rows).toHaveLength(3);
    expect(rows).toEqual(
      expect.arrayContaining([
        { tenant_id: JOE, good: 8, bad: 2, recent: true },
        { tenant_id: ANN, good: 3, bad: 0, recent: true },
        { tenant_id: NOBODY, good: 0, bad: 1, recent: true },
      ]),
    );
    const excluded = await app.db.query(
      'select slo, tenant_id, reason, sum(calls)::int as calls from reporting.slo_exclusions group by 1, 2, 3 order by reason',
    );
    expect(excluded.rows).toEqual([
      { slo: 'booking_api', tenant_id: JOE, reason: 'malformed', calls: 1 },
      { slo: 'booking_api', tenant_id: NOBODY, reason: 'unauthenticated', calls: 3 },
    ]);
    await app.app.get(LedgerCron, { strict: false }).publish();
    expect(await app.metric('slo_booking_api_events_total{result="good"}')).toBe(11);
    expect(await app.metric('slo_booking_api_events_total{result="bad"}')).toBe(3);
    expect(await app.metric('slo_booking_api_excluded_total{reason="unauthenticated"}')).toBe(3);
    expect(await app.metric('slo_booking_api_excluded_total{reason="hung_up"}')).toBe(0);
  });

  it('shows the burn of each window and what is left, as for the first text', async () => {
    answers(app, 18, 100);
    answers(app, 2, 900);
    await samples(app).file();
    await app.db.query(
      `insert into reporting.slo_buckets values ('booking_api', date_bin('5 minutes', now() - interval '2 hours', 'epoch'), $1, 20, 0),
        ('first_sms', date_bin('5 minutes', now(), 'epoch'), $1, 0, 50)`,
      [JOE],
    );
    await slo().computeBudgets();
    expect(await app.metric('slo_burn_rate{slo="booking_api",window="1h"}')).toBeCloseTo(2);
    expect(await app.metric('slo_burn_rate{slo="booking_api",window="6h"}')).toBeCloseTo(1);
    expect(await app.metric('slo_bad_calls{slo="booking_api",window="1h"}')).toBe(2);
    expect(await app.metric('slo_error_budget_remaining_ratio{slo="booking_api"}')).toBeCloseTo(0);
    expect(await app.metric('slo_error_budget_exhaustion_seconds{slo="booking_api"}')).toBeLessThan(1);
  });

  it.each([1, 2, 19, 20, 21, 400])(
    'has the P95 that other SQL finds, over %d requests of two replicas',
    async (count) => {
      const random = new Seeded(count);
      for (let i = 0; i < count; i++) {
        const status = random.percent(4) ? 500 : 201;
        answer(random.percent(50) ? app : twin, random.between(1, 900), { status });
      }
      await slo(twin).computeBooking();
      await slo(app).computeBooking();
      const { rows } = await app.db.query<{ ms: number }>(INDEPENDENT_P95);
      expect(rows).toHaveLength(1);
      expect(await app.metric('booking_post_p95_ms')).toBe(rows[0]?.ms);
    },
  );

  it('does not look faster for failing fast: above 5 % failures the P95 is the end of the scale', async () => {
    answers(app, 95, 40);
    answers(app, 5, 1, { status: 503 });
    await slo().computeBooking();
    expect(await app.metric('booking_post_p95_ms')).toBe(40);
    answer(app, 1, { status: 503 });
    await slo().computeBooking();
    expect(await app.metric('booking_post_p95_ms')).toBe(10_000);
  });

  it('forgets nothing at a stop, and what a replica had counted stays when it is gone', async () => {
    const third = await TestApp.start({ beside: app });
    answers(third, 4, 20);
    answers(third, 1, 800);
    await third.stop();
    expect(await filed()).toEqual({ good: 4, bad: 1 });
    const successor = await TestApp.start({ beside: app });
    await slo(successor).computeBooking();
    await successor.stop();
    expect(await app.metric('booking_post_p95_ms')).toBe(800);
  });

  it('counts a batch once whose commit was made and not confirmed', async () => {
    const database = app.app.get(Database, { strict: false });
    const transaction = database.transaction.bind(database);
    const unconfirmed = jest.spyOn(database, 'transaction').mockImplementationOnce(async (work) => {
      await transaction(work);
      throw new DatabaseAway(new Error('connection lost in the commit'));
    });
    answers(app, 3, 20);
    await expect(samples(app).file()).rejects.toThrow('The database cannot be reached');
    unconfirmed.mockRestore();
    answers(app, 2, 20);
    await samples(app).file();
    expect(await filed()).toEqual({ good: 5, bad: 0 });
    expect(await app.row('select count(*)::int as n from reporting.booking_samples')).toEqual({ n: 5 });
  });

  it('has the trace of a broken promise kept whole, and of no other', () => {
    const setAttribute = jest.fn();
    const active = jest.spyOn(trace, 'getActiveSpan').mockReturnValue({ setAttribute } as unknown as Span);
    answer(app, 500);
    answer(app, 900, { status: 401 });
    expect(setAttribute).not.toHaveBeenCalled();
    answer(app, 501);
    answer(app, 1, { status: 503 });
    active.mockRestore();
    expect(setAttribute.mock.calls).toEqual(Array(2).fill([KEEP_ATTRIBUTE, 'slo_breach']));
  });

  it('outlives the database up to the size of its buffer, and counts what it could not keep', async () => {
    const name = new URL(app.databaseUrl).pathname.slice(1);
    const dropped = async () => (await app.metric('slo_booking_api_dropped_total')) ?? Number.NaN;
    const before = await dropped();
    try {
      await maintenance.query(`alter database ${name} with allow_connections false`);
      await maintenance.query('select pg_terminate_backend(pid) from pg_stat_activity where datname = $1', [name]);
      answers(app, 100, 20);
      await slo().computeBooking();
      expect(await app.metric('nmc_collector_up{collector="slo_booking"}')).toBe(0);
      expect(await app.metric('booking_post_p95_ms')).toBeUndefined();
      // Strangers find the half of it full, those who book find room, and then nobody does.
      answers(app, MAX_HELD, 1, { status: 401, tenantId: undefined });
      expect((await dropped()) - before).toBe(MAX_HELD / 2 + 100);
      answers(app, MAX_HELD / 2 + 7, 600);
      expect((await dropped()) - before).toBe(MAX_HELD / 2 + 100 + 7);
    } finally {
      await maintenance.query(`alter database ${name} with allow_connections true`);
    }
    await eventually(
      async () => {
        await slo().computeBooking();
        expect(await app.metric('nmc_collector_up{collector="slo_booking"}')).toBe(1);
      },
      { label: 'the database is back' },
    );
    expect(await filed()).toEqual({ good: 100, bad: MAX_HELD / 2 });
    expect(await app.row('select sum(calls)::int as calls from reporting.slo_exclusions')).toEqual({
      calls: MAX_HELD / 2 - 100,
    });
    expect(await app.metric('booking_post_p95_ms')).toBe(600);
  });

  it('files a request under the time when it was answered, however late it is filed', async () => {
    const row = { tenant_id: JOE, correlation_id: JOE, status: 201, total_ms: 9, own_ms: 9, kept: true, failed: false };
    const ages = [0, 16, 1_000].map((minutes) => ({ ...row, age_ms: minutes * 60_000, reason: null }));
    await app.db.query(FILE_BOOKINGS, ['booking_api', JSON.stringify(ages)]);
    const { rows } = await app.db.query(
      `select round(extract(epoch from now() - answered_at) / 60)::int as minutes from reporting.booking_samples order by 1`,
    );
    expect(rows.map(({ minutes }) => minutes)).toEqual([0, 16, 1_000]);
    expect(
      await app.row(`select count(*)::int as buckets, sum(good)::int as good,
        bool_or(bucket between now() - interval '1006 minutes' and now() - interval '1000 minutes') as late
        from reporting.slo_buckets where slo = 'booking_api'`),
    ).toEqual({ buckets: 3, good: 3, late: true });
  });

  it('keeps samples for three days', async () => {
    await app.db.query(
      `insert into reporting.booking_samples (answered_at, tenant_id, correlation_id, status, total_ms, own_ms, failed)
       select now() - age * interval '1 hour', $1, $1, 201, 9, 9, false from unnest(array[1, 71, 73, 200]) as age`,
      [JOE],
    );
    await slo().purgeBookingSamples();
    expect(
      await app.row(`select count(*)::int as n, bool_and(answered_at > now() - interval '3 days') as recent
        from reporting.booking_samples`),
    ).toEqual({ n: 2, recent: true });
  });

  it('reads its window by index', async () => {
    const client = await app.db.connect();
    await client.query('set enable_seqscan = off');
    const { rows } = await client.query(`explain ${BOOKING_P95}`, [15, 10_000]);
    client.release(true);
    expect(rows.map((row) => row['QUERY PLAN']).join('\n')).toContain('booking_samples_window');
  });
});

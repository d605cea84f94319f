import { Injectable } from '@nestjs/common';
import type { BadStage } from '../../common/metrics/labels.js';
import { metrics } from '../../common/metrics/metrics.js';
import { CronTask } from '../../infra/cron/cron-task.decorator.js';
import { Database } from '../../infra/database/database.js';
import { Ledger } from '../ledger/ledger.service.js';
import { BOOKING_P95, PURGE_SAMPLES } from './booking.queries.js';
import { BookingSamples } from './booking-samples.service.js';
import { budgetRemaining, burnRate, timeToExhaustion, type Verdicts } from './budget.policy.js';
import { COUNT_WINDOWS, JUDGE } from './budget.queries.js';
import { FIRST_SMS_WINDOW, PROJECTOR_LAG } from './first-sms.queries.js';
import {
  BUDGET_PERIOD_MINUTES,
  BURN_WINDOWS_MINUTES,
  FAILED_BOOKING_MS,
  FIRST_SMS,
  FIRST_SMS_OBJECTIVES,
  type FirstSmsObjective,
  type Objective,
  P95_WINDOW_MINUTES,
  SLOS,
} from './objectives.js';

interface FirstSmsWindow {
  p95_seconds: number | null;
  window_calls: number;
  open_breached: number;
}

interface Judged {
  kept: boolean;
  bad_stage: BadStage | null;
  calls: number;
}

const PURGED_AT_ONCE = 10_000;

type BurnWindow = keyof typeof BURN_WINDOWS_MINUTES;

/** Computes the objectives from the database, in every replica alike. */
@Injectable()
export class SloCron {
  constructor(
    private readonly database: Database,
    private readonly ledger: Ledger,
    private readonly bookings: BookingSamples,
  ) {}

  @CronTask({ name: 'reporting.slo_first_sms', every: '*/5 * * * * *' })
  async computeFirstSms(): Promise<void> {
    const gauges = [
      'slo_first_sms_p95_seconds',
      'slo_first_sms_window_calls',
      'slo_first_sms_open_breached_calls',
    ] as const;
    await metrics.collect('slo_first_sms', gauges, async () => {
      const parameters = [P95_WINDOW_MINUTES, FIRST_SMS.thresholdSeconds];
      const [window] = await this.database.query<FirstSmsWindow>(FIRST_SMS_WINDOW, parameters);
      if (!window) throw new Error('the objective query answered nothing');
      metrics.set('slo_first_sms_p95_seconds', window.p95_seconds ?? Number.NaN);
      metrics.set('slo_first_sms_window_calls', window.window_calls);
      metrics.set('slo_first_sms_open_breached_calls', window.open_breached);
    });
  }

  /** What this replica has seen goes first: while it cannot, nobody shall read a percentile that lacks it. */
  @CronTask({ name: 'reporting.slo_booking', every: '*/5 * * * * *' })
  async computeBooking(): Promise<void> {
    await metrics.collect('slo_booking', ['booking_post_p95_ms'], async () => {
      await this.bookings.file();
      const parameters = [P95_WINDOW_MINUTES, FAILED_BOOKING_MS];
      const [window] = await this.database.query<{ p95_ms: number | null }>(BOOKING_P95, parameters);
      if (!window) throw new Error('the objective query answered nothing');
      metrics.set('booking_post_p95_ms', window.p95_ms ?? Number.NaN);
    });
  }

  @CronTask({ name: 'reporting.booking_samples_purge', every: '40 * * * * *' })
  async purgeBookingSamples(): Promise<void> {
    await this.database.query(PURGE_SAMPLES, [PURGED_AT_ONCE]);
  }

  @CronTask({ name: 'reporting.slo_budget', every: '*/10 * * * * *' })
  async computeBudgets(): Promise<void> {
    const gauges = [
      'slo_error_budget_remaining_ratio',
      'slo_error_budget_exhaustion_seconds',
      'slo_burn_rate',
      'slo_bad_calls',
    ] as const;
    await metrics.collect('slo_budget', gauges, async () => {
      for (const objective of FIRST_SMS_OBJECTIVES) await this.judge(objective);
      for (const objective of SLOS) await this.publishBudget(objective);
    });
  }

  /** How far reporting is behind the events that it derives everything from. */
  @CronTask({ name: 'reporting.projectors', every: '*/5 * * * * *' })
  async readProjectorLag(): Promise<void> {
    await metrics.collect('projectors', ['reporting_projector_lag_seconds'], async () => {
      const [row] = await this.database.query<{ lag_seconds: number }>(PROJECTOR_LAG);
      if (!row) throw new Error('the lag query answered nothing');
      metrics.set('reporting_projector_lag_seconds', row.lag_seconds);
    });
  }

  private async judge({ slo, thresholdSeconds }: FirstSmsObjective): Promise<void> {
    const isCounted = slo === FIRST_SMS.slo;
    await this.database.transaction(async (tx) => {
      const verdicts = await tx.query<Judged>(JUDGE, [slo, thresholdSeconds, isCounted]);
      if (!isCounted) return;
      for (const { kept, bad_stage, calls } of verdicts) {
        await this.ledger.add(tx, 'slo_first_sms_events_total', calls, kept ? 'good' : 'bad');
        if (!kept && bad_stage) await this.ledger.add(tx, 'slo_first_sms_bad_total', calls, bad_stage);
      }
    });
  }

  private async publishBudget({ slo, target }: Objective): Promise<void> {
    const minutes = [BUDGET_PERIOD_MINUTES, ...Object.values(BURN_WINDOWS_MINUTES)];
    const rows = await this.database.query<Verdicts & { minutes: number }>(COUNT_WINDOWS, [slo, minutes]);
    const over = (window: number): Verdicts => rows.find((row) => row.minutes === window) ?? { good: 0, bad: 0 };
    const remaining = budgetRemaining(over(BUDGET_PERIOD_MINUTES), target);
    const pace = burnRate(over(BURN_WINDOWS_MINUTES['6h']), target);
    const exhaustion = timeToExhaustion(remaining, pace, BUDGET_PERIOD_MINUTES * 60);
    metrics.set('slo_error_budget_remaining_ratio', remaining, { slo });
    metrics.set('slo_error_budget_exhaustion_seconds', exhaustion ?? Number.NaN, { slo });
    for (const window of Object.keys(BURN_WINDOWS_MINUTES) as BurnWindow[]) {
      const verdicts = over(BURN_WINDOWS_MINUTES[window]);
      metrics.set('slo_burn_rate', burnRate(verdicts, target), { slo, window });
      metrics.set('slo_bad_calls', verdicts.bad, { slo, window });
    }
  }
}

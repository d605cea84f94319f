import { Injectable } from '@nestjs/common';
import { metrics } from '../../common/metrics/metrics.js';
import { CronTask } from '../../infra/cron/cron-task.decorator.js';
import { Database } from '../../infra/database/database.js';
import { FIRST_SMS_WINDOW } from './first-sms.queries.js';
import { FIRST_SMS } from './objectives.js';

export interface FirstSmsWindow {
  p95_seconds: number | null;
  window_calls: number;
  open_breached: number;
}

/** Computes the objectives from the database, in every replica alike. */
@Injectable()
export class SloCron {
  constructor(private readonly database: Database) {}

  @CronTask({ name: 'reporting.slo_first_sms', every: '*/5 * * * * *' })
  async computeFirstSms(): Promise<void> {
    const gauges = [
      'slo_first_sms_p95_seconds',
      'slo_first_sms_window_calls',
      'slo_first_sms_open_breached_calls',
    ] as const;
    await metrics.collect('slo_first_sms', gauges, async () => {
      const window = await this.firstSms();
      metrics.set('slo_first_sms_p95_seconds', window.p95_seconds ?? Number.NaN);
      metrics.set('slo_first_sms_window_calls', window.window_calls);
      metrics.set('slo_first_sms_open_breached_calls', window.open_breached);
    });
  }

  async firstSms(): Promise<FirstSmsWindow> {
    const [row] = await this.database.query<FirstSmsWindow>(FIRST_SMS_WINDOW, [
      FIRST_SMS.windowMinutes,
      FIRST_SMS.thresholdSeconds,
    ]);
    if (!row) throw new Error('the objective query answered nothing');
    return row;
  }
}

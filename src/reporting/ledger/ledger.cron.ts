import { Injectable, type OnApplicationBootstrap } from '@nestjs/common';
import { METRICS } from '../../common/metrics/catalogue.js';
import { metrics } from '../../common/metrics/metrics.js';
import { CronTask } from '../../infra/cron/cron-task.decorator.js';
import { Database } from '../../infra/database/database.js';
import { LEDGER_TOTALS } from './ledger.queries.js';
import { TOTALS, type TotalName } from './ledger.service.js';

/** Reads the ledger into the counters of the same names. */
@Injectable()
export class LedgerCron implements OnApplicationBootstrap {
  constructor(private readonly database: Database) {}

  /** Before the first scrape, so that no scrape sees less than there is. */
  async onApplicationBootstrap(): Promise<void> {
    await this.publish();
  }

  @CronTask({ name: 'reporting.ledger', every: '*/5 * * * * *' })
  async publish(): Promise<void> {
    await metrics.collect('ledger', [], async () => {
      // The names and labels of a loop are more than the compiler can pair up; both come from the catalogue.
      const advance = metrics.advance.bind(metrics) as (n: TotalName, total: number, l: Record<string, string>) => void;
      const rows = await this.database.query<{ metric: string; label: string; total: number }>(LEDGER_TOTALS);
      for (const metric of TOTALS) {
        const [label] = Object.keys(METRICS[metric].labels ?? {});
        const values = label === undefined ? [''] : (METRICS[metric].labels?.[label] as readonly string[]);
        for (const value of values) {
          const row = rows.find((candidate) => candidate.metric === metric && candidate.label === value);
          advance(metric, row?.total ?? 0, label === undefined ? {} : { [label]: value });
        }
      }
    });
  }
}

import { Injectable } from '@nestjs/common';
import { metrics } from '../../common/metrics/metrics.js';
import { CronTask } from '../cron/cron-task.decorator.js';
import { Database } from './database.js';
import { HELD_SNAPSHOTS } from './snapshots.queries.js';

interface Held {
  transactions: number;
  seconds: number;
  hidden: number;
}

/**
 * Watches what keeps vacuum from cleaning up behind the outbox. While there are sessions whose snapshots this role may
 * not see, nothing is reported and the collector counts as failed: half of the truth would look healthy.
 */
@Injectable()
export class SnapshotsCron {
  constructor(private readonly database: Database) {}

  @CronTask({ name: 'infra.db_snapshots', every: '*/15 * * * * *' })
  async readSnapshots(): Promise<void> {
    await metrics.collect(
      'db_snapshots',
      ['db_oldest_snapshot_age_seconds', 'db_oldest_xmin_age_transactions'],
      async () => {
        const [held] = await this.database.query<Held>(HELD_SNAPSHOTS);
        if (!held) throw new Error('the server does not say which snapshots are held');
        if (held.hidden > 0) throw new Error('sessions of other roles are hidden: grant pg_read_all_stats');
        metrics.set('db_oldest_snapshot_age_seconds', held.seconds);
        metrics.set('db_oldest_xmin_age_transactions', held.transactions);
      },
    );
  }
}

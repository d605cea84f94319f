import { Injectable } from '@nestjs/common';
import { metrics } from '../../common/metrics/metrics.js';
import { Config } from '../config/config.js';
import { CronTask } from '../cron/cron-task.decorator.js';
import { Database } from '../database/database.js';
import { BACKLOG } from './deliveries.queries.js';
import { Dispatcher } from './dispatcher.service.js';
import { OutboxPartitions } from './outbox-partitions.service.js';
import { DEAD_TUPLES } from './retention.queries.js';

/** The last net under the dispatcher, its figures, and its housekeeping. */
@Injectable()
export class OutboxCron {
  constructor(
    private readonly config: Config,
    private readonly database: Database,
    private readonly dispatcher: Dispatcher,
    private readonly partitions: OutboxPartitions,
  ) {}

  /** Hand-off, notification and polling have all failed if this ever finds anything. */
  @CronTask({ name: 'infra.outbox_safety_net', every: '*/10 * * * * *' })
  dispatch(): void {
    if (this.config.runsWorker) this.dispatcher.wake();
  }

  @CronTask({ name: 'infra.outbox_backlog', every: '*/5 * * * * *' })
  async readBacklog(): Promise<void> {
    await metrics.collect(
      'outbox',
      ['outbox_dispatch_lag_seconds', 'worker_queue_depth', 'outbox_dead_letters'],
      async () => {
        const [row] = await this.database.query<{ lag_seconds: number; depth: number; dead_letters: number }>(BACKLOG);
        if (!row) throw new Error('the backlog query answered nothing');
        metrics.set('outbox_dispatch_lag_seconds', row.lag_seconds);
        metrics.set('worker_queue_depth', row.depth);
        metrics.set('outbox_dead_letters', row.dead_letters);
      },
    );
  }

  @CronTask({ name: 'infra.outbox_table', every: '*/15 * * * * *' })
  async readTable(): Promise<void> {
    await metrics.collect('outbox_table', ['outbox_dead_tuples'], async () => {
      const [row] = await this.database.query<{ dead: number }>(DEAD_TUPLES);
      if (!row) throw new Error('there are no statistics of the deliveries');
      metrics.set('outbox_dead_tuples', row.dead);
    });
  }

  @CronTask({ name: 'infra.outbox_partitions', every: '0 17 * * * *' })
  async maintainPartitions(): Promise<void> {
    if (this.config.runsWorker) await this.partitions.maintain();
  }
}

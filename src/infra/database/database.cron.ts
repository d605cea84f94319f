import { Injectable, type OnApplicationBootstrap } from '@nestjs/common';
import { InjectDataSource } from '@nestjs/typeorm';
import type { DataSource } from 'typeorm';
import { metrics } from '../../common/metrics/metrics.js';
import { CronTask } from '../cron/cron-task.decorator.js';
import { poolOf } from './data-source.js';

/** Reads the saturation of this process's pool, and what the server allows all pools together. */
@Injectable()
export class DatabaseCron implements OnApplicationBootstrap {
  constructor(@InjectDataSource() private readonly dataSource: DataSource) {}

  /** Before the first scrape: an alert that lacks its denominator is silent. */
  async onApplicationBootstrap(): Promise<void> {
    await this.readServer();
  }

  @CronTask({ name: 'infra.db_pool', every: '*/5 * * * * *' })
  async readPool(): Promise<void> {
    await metrics.collect('db_pool', ['db_connections_in_use', 'db_connections_waiting', 'db_connections_max'], () => {
      const pool = poolOf(this.dataSource);
      metrics.set('db_connections_in_use', pool.totalCount - pool.idleCount);
      metrics.set('db_connections_waiting', pool.waitingCount);
      metrics.set('db_connections_max', pool.options.max);
    });
  }

  @CronTask({ name: 'infra.db_server', every: '*/30 * * * * *' })
  async readServer(): Promise<void> {
    await metrics.collect('db_server', ['db_server_connections_max'], async () => {
      const [row] = await this.dataSource.query<{ max: number }[]>(
        `select current_setting('max_connections')::int as max`,
      );
      if (!row) throw new Error('the server does not say how many connections it allows');
      metrics.set('db_server_connections_max', row.max);
    });
  }
}

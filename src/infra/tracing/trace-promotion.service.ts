import { Injectable, type OnApplicationBootstrap, type OnApplicationShutdown } from '@nestjs/common';
import { PinoLogger } from 'nestjs-pino';
import pg from 'pg';
import { metrics } from '../../common/metrics/metrics.js';
import { traceKeeper } from '../../common/tracing/kept-traces.js';
import { withoutTrace } from '../../common/tracing/spans.js';
import { Config } from '../config/config.js';
import { connectionSettings } from '../database/data-source.js';
import { Database } from '../database/database.js';

const CHANNEL = 'nmc_trace_keep';
const BATCH_MS = 50;
const RECONNECT_MS = 1_000;

/**
 * Makes error traces whole across processes: whoever keeps a trace tells the others, and each releases what it holds of
 * it. Best effort by design: a lost notification costs part of one trace, never the work.
 */
@Injectable()
export class TracePromotion implements OnApplicationBootstrap, OnApplicationShutdown {
  private readonly keeper = traceKeeper();
  private client: pg.Client | undefined;
  private readonly pending: string[] = [];
  private timer: NodeJS.Timeout | undefined;
  private stopped = false;

  constructor(
    private readonly config: Config,
    private readonly database: Database,
    private readonly logger: PinoLogger,
  ) {}

  async onApplicationBootstrap(): Promise<void> {
    if (!this.keeper) return;
    this.keeper.listen({
      kept: (traceId) => this.tell(traceId),
      promoted: (reason) => metrics.increment('trace_promotions_total', { reason }),
      evicted: (count) => metrics.add('trace_buffer_evictions_total', count),
    });
    await withoutTrace(() => this.connect());
  }

  async onApplicationShutdown(): Promise<void> {
    this.stopped = true;
    clearTimeout(this.timer);
    this.keeper?.listen({});
    await this.client?.end().catch(() => undefined);
  }

  private tell(traceId: string): void {
    this.pending.push(traceId);
    if (this.pending.length > 1) return;
    setTimeout(() => {
      // Far below the 8000 bytes a notification may have: the keeper's cap sees to that.
      const batch = this.pending.splice(0);
      withoutTrace(() => this.database.query('select pg_notify($1, $2)', [CHANNEL, batch.join(',')])).catch(() => {});
    }, BATCH_MS).unref();
  }

  private async connect(): Promise<void> {
    const client = new pg.Client(connectionSettings(this.config.directDatabaseUrl, 'nevermisscall-traces'));
    let lost = false;
    const reconnect = () => {
      if (lost || this.stopped) return;
      lost = true;
      client.end().catch(() => undefined);
      this.timer = setTimeout(() => void this.connect(), RECONNECT_MS);
      this.timer.unref();
    };
    client.on('error', reconnect);
    client.on('end', reconnect);
    client.on('notification', ({ payload }) => {
      for (const traceId of (payload ?? '').split(',')) this.keeper?.keep(traceId, 'elsewhere');
    });
    try {
      await client.connect();
      await client.query(`listen ${CHANNEL}`);
      this.client = client;
    } catch (error) {
      this.logger.warn({ err: error }, 'traces of other processes cannot be kept for now');
      reconnect();
    }
  }
}

import type pg from 'pg';
import { metrics } from '../../common/metrics/metrics.js';
import { Completions, type CompletionsOptions } from './completions.js';
import { BURY, RESCHEDULE } from './deliveries.queries.js';
import type { Delivery } from './delivery.js';
import type { RunResult } from './delivery-runner.js';
import type { TroubleLog } from './trouble-log.js';

const RETRY_MAX_MS = 1_000;
/** Longer waits are found by polling. */
const TIMED_WAKE_MAX_MS = 60_000;

export interface ResultsOptions extends Omit<CompletionsOptions, 'onLeasesLost'> {
  leaseMs: number;
  /** A row that was put off is due about now. */
  onDue: () => void;
}

/** Writes how each run ended: fenced, and through outages as long as the lease may still be ours. */
export class Results {
  private readonly completions: Completions;
  private abandoned = false;

  constructor(
    private readonly pool: pg.Pool,
    trouble: TroubleLog,
    private readonly options: ResultsOptions,
  ) {
    const onLeasesLost = (count: number) => metrics.add('outbox_leases_lost_total', count);
    this.completions = new Completions(pool, trouble, { ...options, onLeasesLost });
  }

  noteLook(): void {
    this.completions.noteLook();
  }

  write(delivery: Delivery, result: RunResult): Promise<void> {
    return result.kind === 'done' ? this.completions.complete(delivery) : this.writeUnfinished(delivery, result);
  }

  private async writeUnfinished(delivery: Delivery, result: Exclude<RunResult, { kind: 'done' }>): Promise<void> {
    const { deliveryId, fence } = delivery;
    switch (result.kind) {
      case 'snooze':
      case 'retry': {
        const attempts = result.kind === 'retry' ? 1 : 0;
        await this.persist(RESCHEDULE, [deliveryId, fence, result.delayMs, attempts, result.errorCode]);
        if (result.delayMs < TIMED_WAKE_MAX_MS) setTimeout(this.options.onDue, result.delayMs + 5).unref();
        return;
      }
      case 'dead_letter': {
        const attempts = delivery.finished + 1;
        await this.persist(BURY, [deliveryId, fence, attempts, result.reason, result.errorCode, result.fingerprint]);
        return this.options.onMore(undefined);
      }
    }
  }

  async stop(deadlineMs: number): Promise<void> {
    await this.completions.stop(deadlineMs);
    this.abandoned = true;
  }

  private async persist(sql: string, parameters: unknown[]): Promise<void> {
    const deadline = performance.now() + this.options.leaseMs;
    for (let failures = 0; ; failures++) {
      try {
        const { rowCount } = await this.pool.query(sql, parameters);
        // A first try whose answer got lost may have done it already.
        if (rowCount === 0 && failures === 0) metrics.increment('outbox_leases_lost_total');
        return;
      } catch (error) {
        if (this.abandoned || performance.now() > deadline) throw error;
        await new Promise((resolve) => setTimeout(resolve, Math.random() * Math.min(RETRY_MAX_MS, 50 * 2 ** failures)));
      }
    }
  }
}

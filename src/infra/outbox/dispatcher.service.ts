import { type BeforeApplicationShutdown, Injectable, type OnApplicationBootstrap } from '@nestjs/common';
import { PinoLogger } from 'nestjs-pino';
import pg from 'pg';
import { metrics } from '../../common/metrics/metrics.js';
import { Config } from '../config/config.js';
import { connectionSettings } from '../database/data-source.js';
import { Completions } from './completions.js';
import {
  BURY,
  CLAIM,
  MARK_STARTED,
  RELEASE,
  RELEASE_STRAYS,
  RENEW_LEASES,
  RESCHEDULE,
  RESCUE,
} from './deliveries.queries.js';
import type { Delivery } from './delivery.js';
import { DeliveryRunner, type RunResult } from './delivery-runner.js';
import { FairQueue } from './fair-queue.js';
import { LIVENESS_LOCK_CLASS, OutboxNotifier, OutboxSession } from './outbox-session.js';
import { MAX_UNFINISHED_STARTS } from './retry.policy.js';
import { Subscribers } from './subscribers.service.js';
import { type ClaimedRow, deliveryOf } from './claimed-row.js';

/** Leases are the fallback behind the liveness lock; renewed each second while held. */
export const LEASE_MS = 15_000;
const POOL_SIZE = 4;
const SWEEP_MS = 250;
const RENEW_MS = 1_000;
/** Rows held in memory at most; beyond, rows are written due and unowned. */
const CAPACITY = 500;
const STOP_GRACE_MS = 8_000;

/**
 * Runs the deliveries of this process: accepts what it wrote itself, claims the rest with one fetcher, deals both out
 * to keyed lanes, and writes every result fenced.
 */
@Injectable()
export class Dispatcher implements OnApplicationBootstrap, BeforeApplicationShutdown {
  private readonly pool: pg.Pool;
  private readonly session: OutboxSession;
  private readonly notifier: OutboxNotifier;
  private readonly queue = new FairQueue();
  private readonly running = new Set<Promise<void>>();
  private readonly completions: Completions;
  private readonly timers: NodeJS.Timeout[] = [];
  private instance: number | undefined;
  private stopping = false;
  private fetching = false;
  private fetchAgain = false;
  private starved = false;
  private sweeping = false;

  constructor(
    private readonly config: Config,
    private readonly runner: DeliveryRunner,
    private readonly subscribers: Subscribers,
    private readonly logger: PinoLogger,
  ) {
    const { DATABASE_URL, ROLE } = config.env;
    this.pool = new pg.Pool({ ...connectionSettings(DATABASE_URL, 'nevermisscall-outbox'), max: POOL_SIZE });
    this.pool.on('error', () => {});
    this.notifier = new OutboxNotifier((sql) => this.pool.query(sql));
    this.completions = new Completions(this.pool, {
      onMore: () => this.wake(),
      onLeasesLost: (count) => metrics.add('outbox_leases_lost_total', count),
    });
    this.session = new OutboxSession(DATABASE_URL, ROLE, {
      onUp: (instanceId) => {
        this.instance = instanceId;
        this.logger.info({ instance_id: instanceId }, 'outbox dispatcher up');
        this.wake();
      },
      onDown: (error) => {
        this.instance = undefined;
        // Without the lock others may take these rows; running ones end and are fenced.
        this.queue.drain();
        this.logger.warn({ err: error }, 'outbox dispatcher lost its session');
      },
      onNotify: () => this.wake(),
    });
  }

  get instanceId(): number | undefined {
    return this.instance;
  }

  async onApplicationBootstrap(): Promise<void> {
    if (!this.config.runsWorker) return;
    await this.session.start();
    this.every(this.config.env.OUTBOX_POLL_MS, () => this.wake());
    this.every(SWEEP_MS, () => this.sweep());
    this.every(RENEW_MS, () => this.renew());
  }

  /** Our instance id if `count` more rows fit in memory, else undefined: then they are written for anybody. */
  reserve(count: number): number | undefined {
    return this.stopping || this.queue.size + count > CAPACITY ? undefined : this.instance;
  }

  /** Takes over rows that were written leased to this process. */
  accept(deliveries: readonly Delivery[]): void {
    for (const delivery of deliveries) this.queue.push(delivery);
    this.deal();
  }

  /** There are rows for anybody: look ourselves, and tell the others. */
  nudge(): void {
    if (this.config.runsWorker) this.wake();
    this.notifier.notify();
  }

  /** Claims what is due. Cheap to call: calls during a fetch become one more fetch. */
  wake(): void {
    if (this.fetching) this.fetchAgain = true;
    else void this.fetch();
  }

  beforeApplicationShutdown(): Promise<void> {
    return this.stop();
  }

  /** Stops claiming, gives unstarted rows back, lets running ones finish within the grace, writes their results. */
  async stop(): Promise<void> {
    if (this.stopping) return;
    this.stopping = true;
    for (const timer of this.timers) clearInterval(timer);
    const unstarted = this.queue.drain();
    if (unstarted.length > 0 && this.instance !== undefined) {
      const ids = unstarted.map(({ deliveryId }) => deliveryId);
      await this.pool.query(RELEASE, [this.instance, ids]).catch(() => {});
    }
    const grace = setTimeout(() => this.runner.abortAll(), STOP_GRACE_MS);
    while (this.running.size > 0) await Promise.all(this.running);
    clearTimeout(grace);
    await this.completions.stop(2_000);
    if (unstarted.length > 0) await this.pool.query('notify nmc_outbox').catch(() => {});
    const instance = this.instance;
    this.instance = undefined;
    if (instance !== undefined) {
      await this.pool.query('delete from infra.outbox_instances where instance_id = $1', [instance]).catch(() => {});
    }
    await this.session.stop();
    await this.pool.end();
  }

  private async fetch(): Promise<void> {
    this.fetching = true;
    try {
      do {
        this.fetchAgain = false;
        const room = Math.min(this.config.env.OUTBOX_BATCH_SIZE, CAPACITY - this.queue.size);
        const instance = this.instance;
        this.starved = room <= 0;
        if (instance === undefined || this.stopping || this.starved) break;
        const { rows } = await this.pool.query<ClaimedRow>({
          name: 'outbox-claim',
          text: CLAIM,
          values: [instance, room, LEASE_MS],
        });
        // Claimed for a life that is over: these rows are rescued, or their leases run out.
        if (instance !== this.instance || this.stopping) break;
        const now = performance.now();
        for (const row of rows) this.queue.push(deliveryOf(row, now));
        this.deal();
        if (rows.length === room) this.fetchAgain = true;
      } while (this.fetchAgain);
    } catch (error) {
      this.logger.warn({ err: error }, 'outbox claim failed');
    } finally {
      this.fetching = false;
    }
  }

  private deal(): void {
    while (!this.stopping && this.running.size < this.config.env.OUTBOX_CONCURRENCY) {
      const delivery = this.queue.take();
      if (!delivery) return;
      const run = this.run(delivery).finally(() => {
        this.running.delete(run);
        this.queue.release(delivery);
        this.deal();
        // A claim cut short for want of room continues as soon as there is some.
        if (this.starved && !this.fetching) this.wake();
      });
      this.running.add(run);
    }
  }

  private async run(delivery: Delivery): Promise<void> {
    try {
      if (delivery.rescued > 0 && !(await this.markStarted(delivery))) return;
      const result = await this.runner.run(delivery);
      await this.settle(delivery, result);
    } catch (error) {
      this.logger.error({ err: error, outbox_id: delivery.deliveryId }, 'outbox result could not be written');
    }
  }

  /** @returns whether the row may be run: it is still ours, and has not killed three processes already */
  private async markStarted(delivery: Delivery): Promise<boolean> {
    const { rows } = await this.pool.query<{ started: number }>(MARK_STARTED, [
      delivery.deliveryId,
      delivery.fence,
      this.instance ?? null,
    ]);
    if (!rows[0]) return false;
    if (rows[0].started <= MAX_UNFINISHED_STARTS) return true;
    await this.settle(delivery, {
      kind: 'dead_letter',
      reason: 'process_killer',
      errorCode: 'outbox.process_killer',
      fingerprint: 'outbox.process_killer',
    });
    return false;
  }

  private async settle(delivery: Delivery, result: RunResult): Promise<void> {
    const { deliveryId, fence } = delivery;
    switch (result.kind) {
      case 'done':
        await this.completions.complete(delivery);
        return;
      case 'snooze':
      case 'retry': {
        const attempts = result.kind === 'retry' ? 1 : 0;
        await this.persist(RESCHEDULE, [deliveryId, fence, result.delayMs, attempts, result.errorCode]);
        setTimeout(() => this.wake(), result.delayMs + 5).unref();
        return;
      }
      case 'dead_letter': {
        const attempts = delivery.finished + 1;
        await this.persist(BURY, [deliveryId, fence, attempts, result.reason, result.errorCode, result.fingerprint]);
        this.wake();
        return;
      }
    }
  }

  /** Writes one result through short outages; a longer one leaves it to the lease. */
  private async persist(sql: string, parameters: unknown[]): Promise<void> {
    const deadline = performance.now() + LEASE_MS;
    for (let failures = 0; ; failures++) {
      try {
        const { rowCount } = await this.pool.query(sql, parameters);
        if (rowCount === 0) metrics.increment('outbox_leases_lost_total');
        return;
      } catch (error) {
        if (performance.now() > deadline) throw error;
        await new Promise((resolve) => setTimeout(resolve, Math.random() * Math.min(1_000, 50 * 2 ** failures)));
      }
    }
  }

  private async sweep(): Promise<void> {
    if (this.sweeping || this.instance === undefined) return;
    this.sweeping = true;
    try {
      const { rowCount } = await this.pool.query({
        name: 'outbox-rescue',
        text: RESCUE,
        values: [LIVENESS_LOCK_CLASS, this.instance],
      });
      if (rowCount) {
        metrics.add('outbox_rescues_total', rowCount);
        this.logger.warn({ rows: rowCount }, 'took deliveries over from a dead process');
        this.wake();
      }
    } finally {
      this.sweeping = false;
    }
  }

  private async renew(): Promise<void> {
    const instance = this.instance;
    if (instance === undefined) return;
    const ids = this.queue.heldIds();
    if (ids.length > 0) await this.pool.query(RENEW_LEASES, [instance, ids, LEASE_MS]);
    const { rowCount } = await this.pool.query(RELEASE_STRAYS, [instance, ids]);
    if (rowCount) this.nudge();
  }

  private every(intervalMs: number, work: () => Promise<void> | void): void {
    const timer = setInterval(async () => {
      try {
        await work();
      } catch (error) {
        this.logger.warn({ err: error }, 'outbox housekeeping failed');
      }
    }, intervalMs);
    this.timers.push(timer);
  }
}

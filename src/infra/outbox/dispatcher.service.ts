import { setTimeout as pause } from 'node:timers/promises';
import { type BeforeApplicationShutdown, Injectable, type OnApplicationBootstrap } from '@nestjs/common';
import { PinoLogger } from 'nestjs-pino';
import pg from 'pg';
import { metrics } from '../../common/metrics/metrics.js';
import { Config } from '../config/config.js';
import { connectionSettings } from '../database/data-source.js';
import { ProviderGates } from '../gates/provider-gates.service.js';
import { Claims, type NextInLanes } from './claims.js';
import {
  ADOPT,
  FORGET_INSTANCES,
  IS_SOMEBODY_MISSING,
  PINNED_PLANS,
  RELEASE,
  RELEASE_ALL,
} from './deliveries.queries.js';
import { columnsOf, type Delivery } from './delivery.js';
import { DeliveryRunner } from './delivery-runner.js';
import { FairQueue } from './fair-queue.js';
import { Fetcher } from './fetcher.js';
import { LeaseKeeper } from './lease-keeper.js';
import { LIVENESS_LOCK_CLASS, NOTIFY, OutboxNotifier, OutboxSession, type SessionQuery } from './outbox-session.js';
import { Results } from './results.js';
import { Runs } from './runs.js';
import { TroubleLog } from './trouble-log.js';
import { UnderWay } from './under-way.js';

/** Leases are the fallback behind the liveness lock; renewed each second once they age. */
export const LEASE_MS = 15_000;
/** For getting rows, and for parting with them: their results, and what is given back or taken from the dead. */
const CLAIM_POOL_SIZE = 2;
const RESULT_POOL_SIZE = 2;
/**
 * A claim need not survive the server: nobody waits for the disk. What a handler then commits comes later in the same log,
 * and so takes its claim along; where a crash has forgotten one, the row is free, and whoever holds it comes back for it.
 */
const NOT_AWAITED = '-c synchronous_commit=off';
const SWEEP_MS = 250;
/** After an outage of the database everybody comes back within a second: none of them is dead before that. */
const BACK_WITHIN_MS = 1_500;
/** How often to look whether everybody is back. */
const ATTENDANCE_MS = 25;
const RENEW_MS = 1_000;
const TIDY_MS = 1_000;
/** How often to look for what the claims do not see. */
const DISCOVERY_MS = 500;
/** Rows that wait or run here at most, and at least this many batches; beyond, rows are written due and unowned. */
const MIN_CAPACITY = 500;
const BATCHES_HELD = 4;
/** From so many rows of one tenant on (and twice what runs at once), no more of it are taken in: room for the others. */
const MIN_TENANT_SHARE = 50;
const STOP_GRACE_MS = 8_000;
/** For handlers to notice the end of the grace, and for results to be written. */
const STOP_RESULTS_MS = 2_000;

/**
 * Runs the deliveries of this process: accepts what it wrote itself, claims the rest with one fetcher, deals both out
 * to keyed lanes, and writes every result fenced.
 */
@Injectable()
export class Dispatcher implements OnApplicationBootstrap, BeforeApplicationShutdown {
  /** Its commits do not wait for the disk. */
  private readonly claimPool: pg.Pool;
  private readonly resultPool: pg.Pool;
  private readonly session: OutboxSession;
  private readonly notifier: OutboxNotifier;
  private readonly queue = new FairQueue((gate) => this.gates.slots(gate));
  private readonly claims: Claims;
  private readonly fetcher: Fetcher;
  private readonly results: Results;
  private readonly runs: Runs;
  private readonly leases: LeaseKeeper;
  private readonly trouble: TroubleLog;
  private readonly timers: NodeJS.Timeout[] = [];
  private instance: number | undefined;
  /** Identities whose rows are still to be brought along or given back. */
  private former: number[] = [];
  /** When those who are not back after an outage are dead, by `performance.now()`. */
  private deadFrom = 0;
  /** What somebody who is not back yet has under way, the database may show as free: its claim was forgotten. */
  private isAwaitingOthers = false;
  private readonly capacity: number;
  private readonly tenantShare: number;
  private stopping: Promise<void> | undefined;

  constructor(
    private readonly config: Config,
    runner: DeliveryRunner,
    private readonly gates: ProviderGates,
    private readonly logger: PinoLogger,
  ) {
    const { ROLE, OUTBOX_BATCH_SIZE, OUTBOX_CONCURRENCY } = config.env;
    this.capacity = Math.max(MIN_CAPACITY, BATCHES_HELD * OUTBOX_BATCH_SIZE);
    this.tenantShare = Math.max(MIN_TENANT_SHARE, 2 * OUTBOX_CONCURRENCY);
    const settings = connectionSettings(config.directDatabaseUrl, 'nevermisscall-outbox');
    const poolOf = (own: pg.PoolConfig) => {
      const pool = new pg.Pool({ ...settings, ...own, idleTimeoutMillis: 0 });
      return pool.on('error', () => {});
    };
    this.claimPool = poolOf({ max: CLAIM_POOL_SIZE, options: `${PINNED_PLANS} ${NOT_AWAITED}`, pipeline: true });
    this.resultPool = poolOf({ max: RESULT_POOL_SIZE, options: PINNED_PLANS });
    this.trouble = new TroubleLog(logger);
    this.notifier = new OutboxNotifier((sql) => this.claimPool.query(sql));
    this.results = new Results(this.resultPool, this.trouble, {
      leaseMs: LEASE_MS,
      batchSize: OUTBOX_BATCH_SIZE,
      passedOver: () => this.claims.passedOver,
      onMore: (next) => this.lookBack(next),
      onDue: () => this.fetcher.look(),
    });
    const { tenantShare } = this;
    const claimSettings = { leaseMs: LEASE_MS, tenantShare };
    this.claims = new Claims(this.claimPool, this.resultPool, this.queue, gates, claimSettings);
    const isOpen = () => this.instance !== undefined && !this.stopping;
    this.runs = new Runs(this.queue, runner, this.results, this.claimPool, logger, {
      concurrency: OUTBOX_CONCURRENCY,
      isOpen,
      onRoom: (delivery) => this.fetcher.roomAgain(delivery),
    });
    this.fetcher = new Fetcher(this.claims, this.queue, this.runs, this.trouble, {
      batchSize: OUTBOX_BATCH_SIZE,
      capacity: this.capacity,
      concurrency: OUTBOX_CONCURRENCY,
      instance: () => this.instance,
      isOpen: () => isOpen() && !this.isAwaitingOthers,
      onClaimed: (deliveries) => this.takeIn(deliveries),
    });
    this.leases = new LeaseKeeper(this.claimPool, this.resultPool, this.queue, LEASE_MS, logger);
    this.session = new OutboxSession(config.directDatabaseUrl, ROLE, {
      adopt: (instanceId, query) => this.adopt(instanceId, query),
      onUp: (instanceId) => {
        this.instance = instanceId;
        metrics.set('outbox_dispatcher_up', 1);
        this.claims.reset();
        this.logger.info({ instance_id: instanceId }, 'outbox dispatcher up');
        this.runs.deal();
        void this.awaitOthers(instanceId);
      },
      onDown: (error) => {
        this.instance = undefined;
        metrics.set('outbox_dispatcher_up', 0);
        this.logger.warn({ err: error }, 'outbox dispatcher has no session');
      },
      onNotify: () => this.wake(),
    });
  }

  /** Who this process is to the others; undefined while it has no session, and then it starts nothing. */
  get instanceId(): number | undefined {
    return this.instance;
  }

  async onApplicationBootstrap(): Promise<void> {
    if (!this.config.runsWorker) return;
    this.gates.watch({
      // Waiting here, they would take the room of those that need not wait.
      onShut: (name) => void this.release(this.queue.drain(({ gate }) => gate !== name)),
      onOpen: () => this.fetcher.look(),
    });
    await this.session.start();
    this.every(this.config.env.OUTBOX_POLL_MS, 'poll', async () => this.look());
    this.every(DISCOVERY_MS, 'discovery', async () => {
      if (await this.claims.discover()) this.fetcher.look();
    });
    this.every(SWEEP_MS, 'rescue', async (instance) => {
      if (performance.now() >= this.deadFrom && (await this.leases.rescue(instance))) this.wake();
    });
    this.every(RENEW_MS, 'lease renewal', (instance) => this.leases.renew(instance));
    this.every(TIDY_MS, 'tidying', async (instance) => {
      if (await this.leases.tidy(instance)) this.nudge();
    });
  }

  /** Our instance id if so many more rows of a tenant fit in memory and pass their gates, else undefined: for anybody. */
  reserve(count: number, tenantId?: string, gates: readonly (string | undefined)[] = []): number | undefined {
    const full = this.queue.roomWithin(this.capacity) < count;
    const crowded = tenantId !== undefined && this.queue.heldOf(tenantId) >= this.tenantShare;
    return this.stopping || full || crowded || this.queue.isShut(gates) ? undefined : this.instance;
  }

  /** Takes over rows that were written leased to this process. */
  accept(deliveries: readonly Delivery[]): void {
    if (this.stopping) return void this.release(deliveries);
    this.takeIn(deliveries);
    this.runs.deal();
  }

  /** Whether the others may be told right now, by the caller itself, in the packet of its commit. */
  takeTurn(): boolean {
    return this.notifier.takeTurn();
  }

  /** There are rows for anybody: look ourselves, and tell the others. */
  nudge(): void {
    this.wake();
    this.notifier.notify();
  }

  /** There are rows for anybody: claims them; cheap to call. */
  wake(): void {
    this.look(true);
  }

  private look(isTold = false): void {
    this.results.noteLook();
    this.fetcher.look(isTold);
    this.fetcher.lookAhead();
  }

  private lookBack(next: NextInLanes | undefined): void {
    this.claims.lookBack(next);
    this.fetcher.look();
  }

  beforeApplicationShutdown(): Promise<void> {
    return this.stop();
  }

  /** Stops claiming, gives unstarted rows back, lets running ones finish within the grace, writes their results. */
  stop(): Promise<void> {
    this.stopping ??= this.wind();
    return this.stopping;
  }

  private async wind(): Promise<void> {
    for (const timer of this.timers) clearInterval(timer);
    const renewal = setInterval(() => {
      if (this.instance !== undefined) this.leases.renew(this.instance).catch(() => {});
    }, RENEW_MS);
    await this.fetcher.ended(STOP_RESULTS_MS);
    await this.release(this.queue.drain());
    await this.runs.stop(STOP_GRACE_MS, STOP_RESULTS_MS);
    await this.results.stop(STOP_RESULTS_MS);
    clearInterval(renewal);
    await this.resign();
    this.notifier.stop();
    await this.session.stop();
    const pools = new UnderWay();
    for (const pool of [this.claimPool, this.resultPool]) pools.add(pool.end());
    await pools.ended(STOP_RESULTS_MS);
  }

  /** Whatever is still ours goes to the others at once, and the identity with it. */
  private async resign(): Promise<void> {
    const instances = this.instance === undefined ? this.former : [this.instance, ...this.former];
    this.instance = undefined;
    if (instances.length === 0) return;
    metrics.set('outbox_dispatcher_up', 0);
    try {
      const { rowCount } = await this.resultPool.query({ text: RELEASE_ALL, values: [instances], ...atTheEnd });
      await this.resultPool.query({ text: FORGET_INSTANCES, values: [instances], ...atTheEnd });
      if (rowCount) await this.claimPool.query({ text: NOTIFY, ...atTheEnd });
    } catch (error) {
      this.trouble.failed('resignation', error);
    }
  }

  private async release(deliveries: readonly Delivery[]): Promise<void> {
    if (deliveries.length === 0 || this.instance === undefined) return;
    const values = [this.instance, ...columnsOf(deliveries)];
    try {
      await this.resultPool.query({ text: RELEASE, values, ...atTheEnd });
      await this.claimPool.query({ text: NOTIFY, ...atTheEnd });
    } catch (error) {
      this.trouble.failed('release', error);
    }
  }

  /** A lost session cost the identity, not the rows: those that nobody took meanwhile stay ours, with their fences. */
  private async adopt(instanceId: number, query: SessionQuery): Promise<void> {
    const former = this.former;
    this.former = [...former, instanceId];
    if (former.length === 0) return;
    const parameters = [former, instanceId, ...columnsOf(this.queue.held), LEASE_MS];
    const adopted = await query<{ delivery_id: string; fence: number }>(ADOPT, parameters);
    const ours = new Map(adopted.map((row) => [row.delivery_id, row.fence]));
    this.queue.drain((delivery) => ours.get(delivery.deliveryId) === delivery.fence);
    await query(RELEASE_ALL, [former]);
    await query(FORGET_INSTANCES, [former]);
    this.former = [instanceId];
    this.deadFrom = performance.now() + BACK_WITHIN_MS;
    this.isAwaitingOthers = true;
  }

  /** Claims nothing before everybody has adopted what is theirs, or is dead. */
  private async awaitOthers(instance: number): Promise<void> {
    const from = performance.now();
    const values = [LIVENESS_LOCK_CLASS, instance];
    const query = { text: IS_SOMEBODY_MISSING, values, query_timeout: BACK_WITHIN_MS };
    let isSomebodyMissing = true;
    const look = async () => {
      const { rows } = await this.resultPool.query<{ is_missing: boolean }>(query);
      isSomebodyMissing = rows[0]?.is_missing !== false;
    };
    while (this.instance === instance && performance.now() < this.deadFrom) {
      await this.trouble.watch('attendance', look);
      if (!isSomebodyMissing) break;
      await pause(ATTENDANCE_MS);
    }
    if (this.instance !== instance) return;
    const waitedMs = Math.round(performance.now() - from);
    if (waitedMs > ATTENDANCE_MS) this.logger.info({ waited_ms: waitedMs }, 'outbox has waited for other processes');
    this.isAwaitingOthers = false;
    this.wake();
  }

  private takeIn(deliveries: readonly Delivery[]): void {
    const refused: Delivery[] = [];
    for (const delivery of deliveries) {
      // It may have shut while the claim was under way.
      const isShut = delivery.gate !== undefined && this.gates.slots(delivery.gate) === 0;
      if (isShut) refused.push(delivery);
      else this.queue.push(delivery);
    }
    void this.release(refused);
  }

  /** Repeats `work` while there is a session; never two at a time, and failures are told once. */
  private every(intervalMs: number, what: string, work: (instance: number) => Promise<void>): void {
    let busy = false;
    const tick = async () => {
      const instance = this.instance;
      if (busy || instance === undefined) return;
      busy = true;
      await this.trouble.watch(what, () => work(instance));
      busy = false;
    };
    this.timers.push(setInterval(tick, intervalMs));
  }
}

const atTheEnd = { query_timeout: STOP_RESULTS_MS };

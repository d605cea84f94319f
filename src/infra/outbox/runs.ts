import type { PinoLogger } from 'nestjs-pino';
import type pg from 'pg';
import { metrics } from '../../common/metrics/metrics.js';
import { MARK_STARTED } from './deliveries.queries.js';
import type { Delivery } from './delivery.js';
import type { DeliveryRunner, RunResult } from './delivery-runner.js';
import { detached } from './detached.js';
import type { FairQueue } from './fair-queue.js';
import type { Results } from './results.js';
import { MAX_UNFINISHED_STARTS } from './retry.policy.js';
import { UnderWay } from './under-way.js';

export interface RunsOptions {
  /** Handlers at once, at most. */
  concurrency: number;
  /** Whether anything may be started now. */
  isOpen: () => boolean;
  /** A handler is over, or its result is written: there is room for another row. */
  onRoom: (delivery: Delivery) => void;
}

/**
 * Starts what is held as its turn comes and writes how each run ended. A slot is free again when the handler is done;
 * a lane only when the result is written.
 */
export class Runs {
  private readonly underWay = new UnderWay();
  private handling = 0;
  /** A suspect is being run, and nothing beside it. */
  private alone = false;
  private isDealingSoon = false;

  constructor(
    private readonly queue: FairQueue,
    private readonly runner: DeliveryRunner,
    private readonly results: Results,
    private readonly pool: pg.Pool,
    private readonly logger: PinoLogger,
    private readonly options: RunsOptions,
  ) {}

  /** Starts as many as there are slots for. */
  readonly deal = (): void => detached(() => this.dealOut());

  /** Waits for the runs under way to end, and tells those that have not after `graceMs`; what then still goes on is left. */
  async stop(graceMs: number, resultsMs: number): Promise<void> {
    const grace = setTimeout(() => this.runner.abortAll(), graceMs);
    await this.underWay.ended(graceMs + resultsMs);
    clearTimeout(grace);
  }

  private dealOut(): void {
    while (this.handling < this.options.concurrency && this.options.isOpen()) {
      const delivery = this.next();
      if (!delivery) return;
      this.handling++;
      void this.run(delivery);
    }
  }

  /** Once for all that end in the same breath, and after what has come over the sockets: runs may wait for nothing. */
  private dealSoon(): void {
    if (this.isDealingSoon) return;
    this.isDealingSoon = true;
    setImmediate(() => {
      this.isDealingSoon = false;
      this.deal();
    });
  }

  private next(): Delivery | undefined {
    if (this.alone) return undefined;
    const usual = this.queue.hasOverdueSuspect(performance.now()) ? undefined : this.queue.take();
    if (usual || this.handling > 0) return usual;
    const suspect = this.queue.takeSuspect();
    this.alone = suspect !== undefined;
    return suspect;
  }

  /** One function, and so one promise, for all of it: there are tens of thousands a second. */
  private async run(delivery: Delivery): Promise<void> {
    this.underWay.begin();
    try {
      let result: RunResult | undefined;
      try {
        if (delivery.rescued === 0 || (await this.markStarted(delivery))) result = await this.runner.run(delivery);
      } finally {
        this.handling--;
        this.alone = false;
        this.queue.finish(delivery);
        this.options.onRoom(delivery);
        this.dealSoon();
      }
      if (result) await this.results.write(delivery, result);
    } catch (error) {
      this.logger.error({ err: error, outbox_id: delivery.deliveryId }, 'outbox result could not be written');
    }
    this.queue.release(delivery);
    this.dealSoon();
    this.options.onRoom(delivery);
    this.underWay.end();
  }

  /** @returns whether the row may be run: it is still ours, and has not taken its process down too often */
  private async markStarted(delivery: Delivery): Promise<boolean> {
    const { rows } = await this.pool.query<{ started: number }>(MARK_STARTED, [delivery.deliveryId, delivery.fence]);
    if (!rows[0]) {
      metrics.increment('outbox_leases_lost_total');
      return false;
    }
    if (rows[0].started <= MAX_UNFINISHED_STARTS) return true;
    const code = 'outbox.process_killer';
    this.logger.error(
      { outbox_id: delivery.deliveryId, subscriber: delivery.subscriber, error_code: code },
      'event is a dead letter',
    );
    await this.results.write(delivery, {
      kind: 'dead_letter',
      reason: 'process_killer',
      errorCode: code,
      fingerprint: code,
    });
    return false;
  }
}

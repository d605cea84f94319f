import type pg from 'pg';
import { placeOf } from './claim-floor.js';
import type { NextInLanes, PassedOver } from './claims.js';
import { COMPLETE } from './deliveries.queries.js';
import type { Delivery } from './delivery.js';
import { detached } from './detached.js';
import type { TroubleLog } from './trouble-log.js';
import { UnderWay } from './under-way.js';

const FLUSH_AFTER_MS = 5;
const RETRY_MAX_MS = 1_000;

interface CompletedRow {
  completed: number;
  usual_at: number | null;
  usual_id: string;
  passed_over_at: number | null;
  passed_over_id: string;
}

interface Done {
  delivery: Delivery;
  settle: () => void;
}

export interface CompletionsOptions {
  /** Results written at once, at most. */
  batchSize: number;
  /** Whose rows the claims pass over: the next rows of their lanes are told apart. */
  passedOver: () => PassedOver;
  /** Lanes may have next rows, which only became claimable now; undefined: since when those are available is not known. */
  onMore: (next: NextInLanes | undefined) => void;
  /** So many results were refused: another process had taken these rows over. */
  onLeasesLost: (count: number) => void;
}

/**
 * Writes results in batches, fenced, and keeps trying through outages: a completion that is forgotten is the same
 * text again later. Only the loss of a lease ends the trying, and then the statement simply matches nothing.
 */
export class Completions {
  private batch: Done[] = [];
  private timer: NodeJS.Timeout | undefined;
  private readonly inFlight = new UnderWay();
  private abandoned = false;
  private lookedMeanwhile = false;

  constructor(
    private readonly pool: pg.Pool,
    private readonly trouble: TroubleLog,
    private readonly options: CompletionsOptions,
  ) {}

  /** Resolves when the row is off the table, or found to belong to somebody else. */
  complete(delivery: Delivery): Promise<void> {
    return new Promise((settle) => {
      this.batch.push({ delivery, settle });
      if (this.batch.length >= this.options.batchSize) this.flush();
      else this.timer ??= setTimeout(() => this.flush(), FLUSH_AFTER_MS);
    });
  }

  /**
   * Somebody was told of new work. What is just being completed still blocks its lane for them, and a row that came
   * after the completion's own look is not in its answer: so it has to be looked for again when that is written.
   */
  noteLook(): void {
    if (this.inFlight.isAny) this.lookedMeanwhile = true;
  }

  /** Flushes and waits for what is under way; at the deadline the leases take over. */
  async stop(deadlineMs: number): Promise<void> {
    this.flush();
    await this.inFlight.ended(deadlineMs);
    this.abandoned = true;
  }

  private flush(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
    const batch = this.batch;
    if (batch.length === 0) return;
    this.batch = [];
    const written = detached(() => this.write(batch));
    this.inFlight.add(written);
    void written.then(({ next, isUncertain }) => {
      for (const { settle } of batch) settle();
      if (next) this.options.onMore(next);
      if (isUncertain || this.lookedMeanwhile) this.options.onMore(undefined);
      if (!this.inFlight.isAny) this.lookedMeanwhile = false;
    });
  }

  /** @returns what comes next in these lanes, if anything, and whether that may be wrong */
  private async write(batch: readonly Done[]): Promise<{ next?: NextInLanes; isUncertain: boolean }> {
    const passedOver = this.options.passedOver();
    const parameters = [
      arrayOf(batch, ({ delivery }) => delivery.deliveryId),
      arrayOf(batch, ({ delivery }) => delivery.fence),
      arrayOf(batch, ({ delivery }) => delivery.finished + 1),
      passedOver.tenants,
      passedOver.gates,
    ];
    for (let failures = 0; !this.abandoned; failures++) {
      try {
        const { rows } = await this.pool.query<CompletedRow>({
          name: 'outbox-complete',
          text: COMPLETE,
          values: parameters,
        });
        this.trouble.worked('completion');
        // A first try whose answer got lost may have done it already: then a retry finds nothing, and that is fine.
        const [row] = rows;
        const lost = batch.length - (row?.completed ?? 0);
        if (lost > 0 && failures === 0) this.options.onLeasesLost(lost);
        const usual = row && placeOf(row.usual_at, row.usual_id);
        const ofPassedOver = row && placeOf(row.passed_over_at, row.passed_over_id);
        const isAny = usual !== undefined || ofPassedOver !== undefined;
        return { isUncertain: failures > 0, ...(isAny && { next: { usual, ofPassedOver, passedOver } }) };
      } catch (error) {
        this.trouble.failed('completion', error);
        await new Promise((resolve) => setTimeout(resolve, Math.random() * Math.min(RETRY_MAX_MS, 50 * 2 ** failures)));
      }
    }
    return { isUncertain: false };
  }
}

/** An array of numbers as Postgres reads it; the driver would look for quotes in each of them. */
function arrayOf<T>(values: readonly T[], number: (value: T) => number | string): string {
  return `{${values.map(number).join(',')}}`;
}

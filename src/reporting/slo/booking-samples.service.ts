import { randomUUIDv7 } from 'node:crypto';
import { Injectable, type OnApplicationShutdown } from '@nestjs/common';
import { HttpAdapterHost } from '@nestjs/core';
import type { FastifyInstance } from 'fastify';
import { PinoLogger } from 'nestjs-pino';
import { type BookingSample, onBookingSample } from '../../common/interceptors/booking-edge.js';
import type { BookingExclusion } from '../../common/metrics/labels.js';
import { metrics } from '../../common/metrics/metrics.js';
import { keepCurrentTrace } from '../../common/tracing/kept-traces.js';
import { Database } from '../../infra/database/database.js';
import { consumeOnce } from '../../infra/outbox/consume-once.js';
import { Ledger } from '../ledger/ledger.service.js';
import { type BookingVerdict, judgeBooking } from './booking.policy.js';
import { FILE_BOOKINGS } from './booking.queries.js';
import { BOOKING_API } from './objectives.js';

/** Requests held while the database is away: about 5 MB, and at a booking a second nearly three hours. */
export const MAX_HELD = 10_000;
/** Strangers who are refused by the thousand must not take the room of those who book. */
const MAX_HELD_EXCLUDED = MAX_HELD / 2;
const NO_TENANT = '00000000-0000-0000-0000-000000000000';

interface Held {
  sample: BookingSample;
  verdict: BookingVerdict;
  /** On the monotonic clock. */
  at: number;
}

/** On its way to the database, under an id: a commit whose outcome is unknown is repeated, and counts once. */
interface Batch {
  id: string;
  held: readonly Held[];
}

interface Filed {
  kept: boolean;
  reason: BookingExclusion | null;
  requests: number;
}

/** Brings what became of each request to the booking API into the database, after the answer and many at a time. */
@Injectable()
export class BookingSamples implements OnApplicationShutdown {
  private waiting: Held[] = [];
  private batch: Batch | undefined;

  constructor(
    host: HttpAdapterHost,
    private readonly database: Database,
    private readonly ledger: Ledger,
    private readonly logger: PinoLogger,
  ) {
    onBookingSample(host.httpAdapter.getInstance<FastifyInstance>(), (sample) => this.take(sample));
  }

  /** Files what has been answered up to now; what cannot be filed stays for the next time. */
  async file(): Promise<void> {
    for (let batch = this.next(); batch; batch = this.next()) {
      await this.write(batch);
      if (this.batch === batch) this.batch = undefined;
    }
  }

  /** After the last answer was sent, and before the connections are closed. */
  async onApplicationShutdown(): Promise<void> {
    await this.file().catch((err: unknown) =>
      this.logger.error({ err, requests: this.held }, 'bookings that no objective counts: the database is away'),
    );
  }

  /** Notes one request; never waits for anything. */
  take(sample: BookingSample): void {
    const verdict = judgeBooking(sample, BOOKING_API.thresholdMs);
    if (verdict.excluded === null) {
      metrics.observe('booking_post_duration_ms', sample.totalMs);
      metrics.observe('booking_post_own_duration_ms', sample.ownMs);
      if (!verdict.kept) keepCurrentTrace('slo_breach');
    }
    if (this.held < (verdict.excluded === null ? MAX_HELD : MAX_HELD_EXCLUDED))
      this.waiting.push({ sample, verdict, at: performance.now() });
    else metrics.increment('slo_booking_api_dropped_total');
  }

  private get held(): number {
    return this.waiting.length + (this.batch?.held.length ?? 0);
  }

  private next(): Batch | undefined {
    if (!this.batch && this.waiting.length > 0) {
      this.batch = { id: randomUUIDv7(), held: this.waiting };
      this.waiting = [];
    }
    return this.batch;
  }

  private async write({ id, held }: Batch): Promise<void> {
    await this.database.transaction(async (tx) => {
      if (!(await consumeOnce(tx, 'reporting.booking_samples', id))) return;
      const now = performance.now();
      const rows = held.map(({ sample, verdict, at }) => ({
        age_ms: now - at,
        tenant_id: sample.tenantId ?? NO_TENANT,
        correlation_id: sample.correlationId,
        status: sample.status,
        total_ms: sample.totalMs,
        own_ms: sample.ownMs,
        kept: verdict.kept,
        failed: verdict.failed,
        reason: verdict.excluded,
      }));
      const filed = await tx.query<Filed>(FILE_BOOKINGS, [BOOKING_API.slo, JSON.stringify(rows)]);
      for (const { kept, reason, requests } of filed) {
        if (reason) await this.ledger.add(tx, 'slo_booking_api_excluded_total', requests, reason);
        else await this.ledger.add(tx, 'slo_booking_api_events_total', requests, kept ? 'good' : 'bad');
      }
    });
  }
}

import { Injectable, type OnApplicationBootstrap } from '@nestjs/common';
import { PinoLogger } from 'nestjs-pino';
import { Config } from '../config/config.js';
import { Database, type Transaction } from '../database/database.js';
import {
  FORGET_CONSUMED,
  KEEP_REFERENCED_EVENTS,
  PURGE_DEFAULT_EVENTS,
  PURGE_DEFAULT_HISTORY,
  SUBSCRIBERS_OF_CONSUMED,
} from './retention.queries.js';

/** Delivered events, their history and the dedupe rows are kept for 30 days; dropping a day costs nothing. */
const RETENTION_DAYS = 30;
const DAYS_AHEAD = 3;
const PARTITION_LOCK = 7_236_103;
const DAY_MS = 86_400_000;
/** Changing partitions locks out every publisher: rather not this time than let them wait. The next hour tries again. */
const LOCK_TIMEOUT = '250ms';
const PURGE_BATCH = 5_000;

interface Bounds {
  table: 'outbox_events' | 'outbox_history';
  key: 'event_id' | 'completed_at';
  from: string;
  to: string;
}

/**
 * One partition a day for the event log and the history: made ahead of time, dropped after retention. A day that
 * already has rows in the default partition (the first one, or one after a long stop) stays there and is purged by row.
 */
@Injectable()
export class OutboxPartitions implements OnApplicationBootstrap {
  constructor(
    private readonly config: Config,
    private readonly database: Database,
    private readonly logger: PinoLogger,
  ) {}

  async onApplicationBootstrap(): Promise<void> {
    if (!this.config.runsWorker) return;
    // The default partition takes what has no other: nothing here is worth a failed boot.
    await this.maintain().catch((error: unknown) => {
      this.logger.warn({ err: error }, 'outbox partitions are not maintained yet');
    });
  }

  /** Safe to run anywhere at any time; replicas take turns, and each step is short and commits by itself. */
  async maintain(): Promise<void> {
    const [clock] = await this.database.query<{ today: string }>(
      `select to_char(now() at time zone 'utc', 'YYYY-MM-DD') as today`,
    );
    const today = Date.parse(`${clock?.today}T00:00:00Z`);
    const cutoff = new Date(today - RETENTION_DAYS * DAY_MS);
    const present = new Set(await this.partitionNames());
    for (let day = 0; day <= DAYS_AHEAD; day++) {
      for (const bounds of boundsOf(new Date(today + day * DAY_MS))) {
        const name = `${bounds.table}_p${dayName(new Date(today + day * DAY_MS))}`;
        if (!present.has(name)) await this.alone((tx) => this.create(tx, name, bounds));
      }
    }
    for (const name of present) {
      if (/_p\d{8}$/.test(name) && name.slice(-8) < dayName(cutoff)) await this.alone((tx) => this.drop(tx, name));
    }
    await this.purge(PURGE_DEFAULT_EVENTS, [lowestUuidOf(cutoff)]);
    await this.purge(PURGE_DEFAULT_HISTORY, [cutoff.toISOString()]);
    const subscribers = await this.database.query<{ subscriber: string }>(SUBSCRIBERS_OF_CONSUMED);
    for (const { subscriber } of subscribers) {
      await this.purge(FORGET_CONSUMED, [subscriber, lowestUuidOf(cutoff), cutoff.toISOString()]);
    }
  }

  private async partitionNames(): Promise<string[]> {
    const rows = await this.database.query<{ name: string }>(
      `select c.relname as name from pg_inherits i join pg_class c on c.oid = i.inhrelid
       where i.inhparent in ('infra.outbox_events'::regclass, 'infra.outbox_history'::regclass)`,
    );
    return rows.map(({ name }) => name);
  }

  private async create(tx: Transaction, name: string, { table, key, from, to }: Bounds): Promise<void> {
    const stranded = await tx.query(
      `select 1 from infra.${table}_default where ${key} >= '${from}' and ${key} < '${to}' limit 1`,
    );
    if (stranded.length > 0) return;
    await tx.query(
      `create table if not exists infra.${name} partition of infra.${table} for values from ('${from}') to ('${to}')`,
    );
  }

  /** Events that somebody still has to see, dead letters above all, outlive their day in the default partition. */
  private async drop(tx: Transaction, name: string): Promise<void> {
    const [there] = await tx.query<{ oid: string | null }>('select to_regclass($1) as oid', [`infra.${name}`]);
    if (!there?.oid) return;
    if (name.startsWith('outbox_events')) {
      await tx.query(`alter table infra.outbox_events detach partition infra.${name}`);
      await tx.query(KEEP_REFERENCED_EVENTS(name));
    }
    await tx.query(`drop table infra.${name}`);
  }

  private async alone(work: (tx: Transaction) => Promise<void>): Promise<void> {
    await this.database.transaction(async (tx) => {
      const [lock] = await tx.query<{ held: boolean }>('select pg_try_advisory_xact_lock($1) as held', [
        PARTITION_LOCK,
      ]);
      if (!lock?.held) return;
      await tx.query(`set local lock_timeout = '${LOCK_TIMEOUT}'`);
      await work(tx);
    });
  }

  private async purge(sql: string, parameters: unknown[]): Promise<void> {
    for (;;) {
      const [row] = await this.database.query<{ purged: number }>(sql, [...parameters, PURGE_BATCH]);
      if (!row || row.purged < PURGE_BATCH) return;
    }
  }
}

function boundsOf(day: Date): Bounds[] {
  const next = new Date(day.getTime() + DAY_MS);
  return [
    { table: 'outbox_events', key: 'event_id', from: lowestUuidOf(day), to: lowestUuidOf(next) },
    { table: 'outbox_history', key: 'completed_at', from: day.toISOString(), to: next.toISOString() },
  ];
}

function dayName(day: Date): string {
  return day.toISOString().slice(0, 10).replaceAll('-', '');
}

/** The smallest uuid v7 of a moment: 48 bits of milliseconds, then zeros; version bits sort above it. */
function lowestUuidOf(moment: Date): string {
  const hex = moment.getTime().toString(16).padStart(12, '0');
  return `${hex.slice(0, 8)}-${hex.slice(8)}-0000-0000-000000000000`;
}

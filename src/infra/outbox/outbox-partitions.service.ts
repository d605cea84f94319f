import { Injectable, type OnApplicationBootstrap } from '@nestjs/common';
import { Config } from '../config/config.js';
import { Database, type Transaction } from '../database/database.js';

/** Delivered events and their history are kept for 30 days; dropping a day costs nothing. */
const RETENTION_DAYS = 30;
const DAYS_AHEAD = 3;
const DEDUPE_RETENTION_DAYS = 30;
const PARTITION_LOCK = 7_236_103;
const DAY_MS = 86_400_000;

/** One partition a day for the event log and the history: made ahead of time, dropped after retention. */
@Injectable()
export class OutboxPartitions implements OnApplicationBootstrap {
  constructor(
    private readonly config: Config,
    private readonly database: Database,
  ) {}

  async onApplicationBootstrap(): Promise<void> {
    if (this.config.runsWorker) await this.maintain();
  }

  /** Safe to run anywhere at any time; replicas take turns. */
  async maintain(): Promise<void> {
    await this.database.transaction(async (tx) => {
      const [lock] = await tx.query<{ held: boolean }>('select pg_try_advisory_xact_lock($1) as held', [PARTITION_LOCK]);
      if (!lock?.held) return;
      const [clock] = await tx.query<{ today: string }>(`select to_char(now() at time zone 'utc', 'YYYY-MM-DD') as today`);
      const today = Date.parse(`${clock?.today}T00:00:00Z`);
      const present = new Set(await this.partitionNames(tx));
      // Never today's: rows of today may already be in the default partition.
      for (let day = 1; day <= DAYS_AHEAD; day++) await this.createDay(tx, new Date(today + day * DAY_MS), present);
      const oldest = dayName(new Date(today - RETENTION_DAYS * DAY_MS));
      for (const name of present) {
        if (/_p\d{8}$/.test(name) && name.slice(-8) < oldest) await tx.query(`drop table infra.${name}`);
      }
      await tx.query(`delete from infra.consumed_events where consumed_at < now() - $1 * interval '1 day'`, [
        DEDUPE_RETENTION_DAYS,
      ]);
    });
  }

  private async partitionNames(tx: Transaction): Promise<string[]> {
    const rows = await tx.query<{ name: string }>(
      `select c.relname as name from pg_inherits i join pg_class c on c.oid = i.inhrelid
       where i.inhparent in ('infra.outbox_events'::regclass, 'infra.outbox_history'::regclass)`,
    );
    return rows.map(({ name }) => name);
  }

  private async createDay(tx: Transaction, day: Date, present: ReadonlySet<string>): Promise<void> {
    const next = new Date(day.getTime() + DAY_MS);
    const partitions = [
      { table: 'outbox_events', from: lowestUuidOf(day), to: lowestUuidOf(next) },
      { table: 'outbox_history', from: day.toISOString(), to: next.toISOString() },
    ];
    for (const { table, from, to } of partitions) {
      const name = `${table}_p${dayName(day)}`;
      if (present.has(name)) continue;
      await tx.query(`create table infra.${name} partition of infra.${table} for values from ('${from}') to ('${to}')`);
    }
  }
}

function dayName(day: Date): string {
  return day.toISOString().slice(0, 10).replaceAll('-', '');
}

/** The smallest uuid v7 of a moment: 48 bits of milliseconds, then zeros; version bits sort above it. */
function lowestUuidOf(moment: Date): string {
  const hex = moment.getTime().toString(16).padStart(12, '0');
  return `${hex.slice(0, 8)}-${hex.slice(8)}-0000-0000-000000000000`;
}

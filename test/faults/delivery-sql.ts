import { randomUUIDv7 } from 'node:crypto';
import pg from 'pg';
import {
  ADOPT,
  BURY,
  CLAIM,
  COMPLETE,
  FORGET_INSTANCES,
  ORDER_LOCK_CLASS,
  OWNED,
  PUBLISH,
  RELEASE,
  RELEASE_ALL,
  RELEASE_ORPHANS,
  RENEW_LEASES,
  RESCHEDULE,
  RESCUE,
} from '../../src/infra/outbox/deliveries.queries.js';
import { LIVENESS_LOCK_CLASS } from '../../src/infra/outbox/outbox-session.js';

/** Longer than any test: what is leased or put off stays so until the test lets time pass. */
const HOUR_MS = 3_600_000;
const TENANT = '00000000-0000-4000-8000-000000000001';
const SUBSCRIBER = 'reporting.model';

/** A delivery as it is in the table. */
export interface TableRow {
  id: string;
  lane: string;
  owner: number | null;
  fence: number;
  rescued: number;
  finished: number;
  isLeased: boolean;
  isAvailable: boolean;
  isDue: boolean;
}

export interface Held {
  id: string;
  fence: number;
}

/** A row before a claim. */
export interface Before extends Held {
  owner: number | null;
}

/** The session of a process: it lives as long as this. */
export interface Session {
  instance: number;
  client: pg.Client;
  pid: number;
}

/** The production SQL of the outbox, as its processes would send it; the one place that knows its parameters. */
export class DeliverySql {
  private readonly sessions = new Set<Session>();

  constructor(
    private readonly db: pg.Pool,
    private readonly url: string,
  ) {}

  /** An empty outbox without processes. */
  async reset(): Promise<void> {
    for (const session of this.sessions) await this.end(session);
    await this.db.query(`truncate infra.outbox_events, infra.outbox_deliveries, infra.outbox_history,
      infra.outbox_dead_letters, infra.outbox_instances restart identity`);
  }

  async begin(): Promise<Session> {
    const client = new pg.Client({ connectionString: this.url });
    client.on('error', () => undefined);
    await client.connect();
    const { rows } = await client.query<{ instance_id: number; pid: number }>(
      `with born as (insert into infra.outbox_instances (role) values ('worker') returning instance_id)
       select instance_id, pg_backend_pid() as pid, pg_advisory_lock($1, instance_id) from born`,
      [LIVENESS_LOCK_CLASS],
    );
    if (!rows[0]) throw new Error('no instance was registered');
    const session = { client, instance: rows[0].instance_id, pid: rows[0].pid };
    this.sessions.add(session);
    return session;
  }

  /** Resolves when the server knows that the process is gone. */
  async end(session: Session): Promise<void> {
    this.sessions.delete(session);
    await this.db.query('select pg_terminate_backend($1, 10000)', [session.pid]);
    session.client.connection.stream.destroy();
  }

  async publish(
    lane: string,
    owner: number | undefined,
    isLater: boolean,
  ): Promise<{ id: string; owner: number | null }> {
    const due = isLater ? new Date(Date.now() + HOUR_MS) : null;
    const [id, correlation] = [randomUUIDv7(), randomUUIDv7()];
    const event = [id, 'nmc.telephony.CallDetected', '1.0.0', TENANT, null, correlation, null, null, lane, '{"n": 1}'];
    const parameters = [...event, ORDER_LOCK_CLASS, HOUR_MS, owner ?? null, [SUBSCRIBER], [due], [null]];
    const { rows } = await this.db.query<{ delivery_id: string; owner: number | null }>(PUBLISH, parameters);
    return { id: rows[0]?.delivery_id ?? '', owner: rows[0]?.owner ?? null };
  }

  async claim(owner: number, limit: number): Promise<Held[]> {
    const { rows } = await this.db.query(CLAIM, [owner, HOUR_MS, limit, [], [], '0', '0']);
    return heldOf(rows);
  }

  /** Answers whether it was still the caller's. */
  async complete({ id, fence }: Held): Promise<boolean> {
    const { rows } = await this.db.query<{ completed: number }>(COMPLETE, [[id], [fence], [1], [], []]);
    return rows[0]?.completed === 1;
  }

  async reschedule({ id, fence }: Held, isLater: boolean, attempts: 0 | 1): Promise<boolean> {
    return this.wrote(RESCHEDULE, [id, fence, isLater ? HOUR_MS : 0, attempts, 'test.failed']);
  }

  async bury({ id, fence }: Held): Promise<boolean> {
    return this.wrote(BURY, [id, fence, 6, 'attempts_exhausted', 'test.failed', 'test.failed']);
  }

  async renew(owner: number, held: readonly Held[]): Promise<void> {
    await this.db.query(RENEW_LEASES, [owner, ...columns(held), HOUR_MS]);
  }

  async release(owner: number, held: readonly Held[]): Promise<void> {
    await this.db.query(RELEASE, [owner, ...columns(held)]);
  }

  async owned(owner: number): Promise<string[]> {
    const { rows } = await this.db.query(OWNED, [owner]);
    return heldOf(rows).map(({ id }) => id);
  }

  async rescue(by: number): Promise<void> {
    await this.db.query(RESCUE, [LIVENESS_LOCK_CLASS, by]);
  }

  async releaseOrphans(): Promise<void> {
    await this.db.query(RELEASE_ORPHANS);
  }

  /** What a process does in its new session with what it held in a former one. */
  async adopt(former: number, instance: number, held: readonly Held[]): Promise<Held[]> {
    const { rows } = await this.db.query(ADOPT, [[former], instance, ...columns(held), HOUR_MS]);
    await this.db.query(RELEASE_ALL, [[former]]);
    await this.db.query(FORGET_INSTANCES, [[former]]);
    return heldOf(rows);
  }

  /** As a crash of the server does with claims that were not on disk: the rows are what they were before. */
  async forget(before: readonly Before[]): Promise<void> {
    await this.db.query(
      `update infra.outbox_deliveries d set owner = b.owner, fence = b.fence, leased_until = '-infinity'
       from unnest($1::bigint[], $2::int[], $3::int[]) as b (delivery_id, fence, owner) where d.delivery_id = b.delivery_id`,
      [...columns(before), before.map(({ owner }) => owner)],
    );
  }

  /** As if the time of an instance's leases had passed. */
  async expire(owner: number): Promise<void> {
    await this.db.query('update infra.outbox_deliveries set leased_until = now() where owner = $1', [owner]);
  }

  /** As if everything that was put off, or scheduled, had come due. */
  async ripen(): Promise<void> {
    await this.db.query(`
      update infra.outbox_deliveries set available_at = now(), due_at = least(due_at, now()) where available_at > now()`);
  }

  async table(): Promise<TableRow[]> {
    const { rows } = await this.db.query<TableRow>(`
      select delivery_id as id, ordering_key as lane, owner, fence, rescued, finished,
        leased_until > now() as "isLeased", available_at <= now() as "isAvailable", due_at <= now() as "isDue"
      from infra.outbox_deliveries order by delivery_id`);
    return rows;
  }

  async gone(): Promise<{ done: string[]; dead: string[] }> {
    const ids = async (table: string) =>
      (await this.db.query(`select delivery_id as id from infra.${table} order by delivery_id`)).rows.map(
        ({ id }) => id,
      );
    return { done: await ids('outbox_history'), dead: await ids('outbox_dead_letters') };
  }

  private async wrote(sql: string, parameters: unknown[]): Promise<boolean> {
    return (await this.db.query(sql, parameters)).rowCount === 1;
  }
}

function heldOf(rows: readonly { delivery_id: string; fence: number }[]): Held[] {
  return rows.map((row) => ({ id: row.delivery_id, fence: row.fence }));
}

function columns(held: readonly Held[]): [string[], number[]] {
  return [held.map(({ id }) => id), held.map(({ fence }) => fence)];
}

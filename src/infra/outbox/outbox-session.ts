import pg from 'pg';
import { metrics } from '../../common/metrics/metrics.js';
import { connectionSettings } from '../database/data-source.js';

const CHANNEL = 'nmc_outbox';
export const NOTIFY = `notify ${CHANNEL}`;
/** The same on a connection whose commits wait for the disk: this one need not. */
export const NOTIFY_AT_ONCE = `select set_config('synchronous_commit', 'off', true), pg_notify('${CHANNEL}', '')`;
/** Wake-ups of one process come so far apart at least. */
export const NOTIFY_INTERVAL_MS = 20;
/** First key of the advisory locks whose second key is an instance id. */
export const LIVENESS_LOCK_CLASS = 7_236_102;
const HEARTBEAT_MS = 2_000;
const HEARTBEAT_DEADLINE_MS = 1_000;
const FIRST_RECONNECT_MAX_MS = 50;
const RECONNECT_MAX_MS = 1_000;
const GOODBYE_MS = 1_000;

/** SQL on the session's own connection. */
export type SessionQuery = <Row extends pg.QueryResultRow>(sql: string, parameters: unknown[]) => Promise<Row[]>;

export interface SessionEvents {
  /** A new session, whose instance is registered and alive: brings along what an earlier one held, before `onUp`. */
  adopt: (instanceId: number, query: SessionQuery) => Promise<void>;
  /** A new session: with a new instance id, and everything that may have been missed to be claimed. */
  onUp: (instanceId: number) => void;
  /** There is no session any more, or not yet: others may take the instance's rows. Once for each time. */
  onDown: (error: unknown) => void;
  /** Another process has written rows. */
  onNotify: () => void;
}

/**
 * The dispatcher's own connection, never pooled: it listens, and its session holds the advisory lock that says
 * "this instance lives". A heartbeat finds a silently dead socket within 3 s; polling covers the time until then.
 */
export class OutboxSession {
  private client: pg.Client | undefined;
  private timer: NodeJS.Timeout | undefined;
  private stopped = false;
  private failures = 0;

  constructor(
    private readonly databaseUrl: string,
    private readonly role: string,
    private readonly events: SessionEvents,
  ) {}

  /** Resolves after the first try; where that fails, it goes on trying by itself. */
  async start(): Promise<void> {
    if (this.stopped) return;
    const client = new pg.Client(connectionSettings(this.databaseUrl, 'nevermisscall-outbox-listener'));
    client.on('error', (error) => this.lost(error, client));
    client.on('end', () => this.lost(new Error('listener connection ended'), client));
    client.on('notification', () => {
      metrics.increment('outbox_notifications_total', { kind: 'received' });
      this.events.onNotify();
    });
    try {
      const instanceId = await this.register(client);
      if (this.stopped) return destroy(client);
      this.client = client;
      this.failures = 0;
      this.events.onUp(instanceId);
      this.scheduleHeartbeat(client);
    } catch (error) {
      // A half-made session may already hold its lock: the connection must not stay.
      destroy(client);
      this.retry(error);
    }
  }

  async stop(): Promise<void> {
    this.stopped = true;
    clearTimeout(this.timer);
    const client = this.client;
    this.client = undefined;
    if (!client) return;
    const impatient = setTimeout(() => destroy(client), GOODBYE_MS);
    await client.end().catch(() => {});
    clearTimeout(impatient);
  }

  private async register(client: pg.Client): Promise<number> {
    await client.connect();
    await client.query(`listen ${CHANNEL}`);
    // In one statement: no other process sees the row before the lock is held.
    const { rows } = await client.query<{ instance_id: number }>(
      `with born as (insert into infra.outbox_instances (role) values ($1) returning instance_id)
       select instance_id, pg_advisory_lock($2, instance_id) from born`,
      [this.role, LIVENESS_LOCK_CLASS],
    );
    const instanceId = rows[0]?.instance_id;
    if (instanceId === undefined) throw new Error('the database did not register the outbox instance');
    await this.events.adopt(instanceId, async (sql, parameters) => (await client.query(sql, parameters)).rows);
    return instanceId;
  }

  private scheduleHeartbeat(client: pg.Client): void {
    this.timer = setTimeout(async () => {
      const deadline = setTimeout(() => this.lost(new Error('heartbeat deadline'), client), HEARTBEAT_DEADLINE_MS);
      try {
        await client.query('select 1');
        if (this.client === client) this.scheduleHeartbeat(client);
      } catch (error) {
        this.lost(error, client);
      } finally {
        clearTimeout(deadline);
      }
    }, HEARTBEAT_MS);
    this.timer.unref();
  }

  private lost(error: unknown, client: pg.Client): void {
    if (this.stopped || client !== this.client) return;
    this.client = undefined;
    destroy(client);
    this.retry(error);
  }

  /** At once for the first time: whoever is back before the others look keeps its rows. */
  private retry(error: unknown): void {
    if (this.stopped) return;
    if (this.failures === 0) this.events.onDown(error);
    const ceiling = Math.min(RECONNECT_MAX_MS, FIRST_RECONNECT_MAX_MS * 2 ** this.failures++);
    clearTimeout(this.timer);
    this.timer = setTimeout(() => void this.start(), Math.random() * ceiling);
    this.timer.unref();
  }
}

/** Politeness would wait for an answer of a server that may not be there; the socket's end frees the lock all the same. */
function destroy(client: pg.Client): void {
  client.connection.stream.destroy();
}

/**
 * Tells other processes that there is something to claim: after the commit, outside any business transaction
 * (a notifying commit takes a lock on the whole database), with nothing in it, at once and then at most once per interval.
 */
export class OutboxNotifier {
  private timer: NodeJS.Timeout | undefined;
  private lastSentAt = Number.NEGATIVE_INFINITY;
  private stopped = false;

  constructor(private readonly query: (sql: string) => Promise<unknown>) {}

  /**
   * Takes the turn for a wake-up that the caller sends behind a commit itself, a round trip earlier.
   * @returns false: it is not the time yet; to `notify` after the commit is
   */
  takeTurn(): boolean {
    if (this.stopped || this.timer || performance.now() < this.lastSentAt + NOTIFY_INTERVAL_MS) return false;
    this.noteSent();
    return true;
  }

  notify(): void {
    if (this.stopped) return;
    if (this.timer) {
      metrics.increment('outbox_notifications_total', { kind: 'spared' });
      return;
    }
    const waitMs = this.lastSentAt + NOTIFY_INTERVAL_MS - performance.now();
    if (waitMs <= 0) this.send();
    else this.timer = setTimeout(() => this.send(), waitMs);
  }

  /** The pool is about to end. */
  stop(): void {
    this.stopped = true;
    clearTimeout(this.timer);
  }

  private send(): void {
    this.timer = undefined;
    this.noteSent();
    // Lost notifications cost a poll interval, nothing more.
    this.query(NOTIFY).catch(() => {});
  }

  private noteSent(): void {
    this.lastSentAt = performance.now();
    metrics.increment('outbox_notifications_total', { kind: 'sent' });
  }
}

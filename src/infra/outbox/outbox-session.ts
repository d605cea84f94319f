import pg from 'pg';
import { connectionSettings } from '../database/data-source.js';

const CHANNEL = 'nmc_outbox';
/** First key of the advisory locks whose second key is an instance id. */
export const LIVENESS_LOCK_CLASS = 7_236_102;
const HEARTBEAT_MS = 2_000;
const HEARTBEAT_DEADLINE_MS = 1_000;
const RECONNECT_MAX_MS = 1_000;

export interface SessionEvents {
  /** A new session: with a new instance id, and everything that may have been missed to be claimed. */
  onUp: (instanceId: number) => void;
  /** The session is gone and the instance with it: others may take its rows from now on. */
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

  constructor(
    private readonly databaseUrl: string,
    private readonly role: string,
    private readonly events: SessionEvents,
  ) {}

  async start(): Promise<void> {
    try {
      await this.connect();
    } catch (error) {
      this.lost(error);
    }
  }

  async stop(): Promise<void> {
    this.stopped = true;
    clearTimeout(this.timer);
    const client = this.client;
    this.client = undefined;
    await client?.end().catch(() => {});
  }

  private async connect(): Promise<void> {
    const client = new pg.Client(connectionSettings(this.databaseUrl, 'nevermisscall-outbox-listener'));
    client.on('error', (error) => this.lost(error, client));
    client.on('end', () => this.lost(new Error('listener connection ended'), client));
    client.on('notification', () => this.events.onNotify());
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
    if (this.stopped) return void (await client.end());
    this.client = client;
    this.events.onUp(instanceId);
    this.scheduleHeartbeat(client);
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

  private lost(error: unknown, client?: pg.Client): void {
    if (this.stopped || (client && client !== this.client)) return;
    const wasUp = this.client !== undefined;
    this.client = undefined;
    clearTimeout(this.timer);
    if (client) client.end().catch(() => {});
    if (wasUp) this.events.onDown(error);
    this.timer = setTimeout(() => void this.start(), Math.random() * RECONNECT_MAX_MS);
    this.timer.unref();
  }
}

/**
 * Tells other processes that there is something to claim: after the commit, outside any business transaction
 * (a notifying commit takes a lock on the whole database), at most once per interval, with nothing in it.
 */
export class OutboxNotifier {
  private pending = false;

  constructor(
    private readonly query: (sql: string) => Promise<unknown>,
    private readonly intervalMs = 25,
  ) {}

  notify(): void {
    if (this.pending) return;
    this.pending = true;
    setTimeout(() => {
      this.pending = false;
      // Lost notifications cost a poll interval, nothing more.
      this.query(`notify ${CHANNEL}`).catch(() => {});
    }, this.intervalMs);
  }
}

import { randomUUIDv7 } from 'node:crypto';
import { Writable } from 'node:stream';
import { type INestApplicationContext, Injectable, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { LoggerModule } from 'nestjs-pino';
import pg from 'pg';
import { z } from 'zod';
import { createLogger } from '../../src/common/logging/logger.js';
import { loadConfig } from '../../src/infra/config/config.js';
import { Database, type Transaction } from '../../src/infra/database/database.js';
import { InfraModule } from '../../src/infra/infra.module.js';
import { Dispatcher } from '../../src/infra/outbox/dispatcher.service.js';
import { defineEvent, type OutboxEvent } from '../../src/infra/outbox/event.js';
import { type DeliveryRun, OnOutboxEvent } from '../../src/infra/outbox/on-outbox-event.decorator.js';
import { Outbox } from '../../src/infra/outbox/outbox.service.js';
import { cloneDatabase } from './database.js';
import { eventually } from './eventually.js';

const payload = z.object({ n: z.number(), due: z.iso.datetime().optional(), gate: z.string().optional() });
export type Payload = z.output<typeof payload>;

/** One subscriber. */
export const Ping = defineEvent<Payload>({
  name: 'nmc.telephony.CallDetected',
  version: '1.0.0',
  description: 'An event of the tests.',
  schema: payload,
});
/** Two subscribers: the one of `Ping`, in the same lanes, and one with a short deadline. */
export const Pong = defineEvent<Payload>({ ...Ping, name: 'nmc.telephony.InboundSmsReceived' });
/** Delivered when its payload says. */
export const Later = defineEvent<Payload>({ ...Ping, name: 'nmc.telephony.CallReplyDeferred' });

export const FIRST = 'telephony.test_first';
export const SECOND = 'reporting.test_second';
export const DEADLINE_MS = 150;

export interface Seen {
  process: string;
  subscriber: string;
  n: number;
  key: string;
  attempt: number;
  eventId: string;
  tenantId: string;
}
type Behaviour = (event: OutboxEvent<Payload>, run: DeliveryRun, seen: Seen) => Promise<void> | void;

/** What the subscribers of one process do, and what they have seen. */
@Injectable()
export class Handlers {
  process = '';
  readonly starts: Seen[] = [];
  readonly ends: Seen[] = [];
  behave: Record<string, Behaviour> = {};

  @OnOutboxEvent(Ping, { name: FIRST, retryBaseMs: 20, gate: ({ gate }) => gate })
  ping(event: OutboxEvent<Payload>, run: DeliveryRun): Promise<void> {
    return this.handle(FIRST, event, run);
  }

  @OnOutboxEvent(Pong, { name: FIRST, retryBaseMs: 20 })
  pong(event: OutboxEvent<Payload>, run: DeliveryRun): Promise<void> {
    return this.handle(FIRST, event, run);
  }

  @OnOutboxEvent(Pong, { name: SECOND, retryBaseMs: 20, timeoutMs: DEADLINE_MS })
  second(event: OutboxEvent<Payload>, run: DeliveryRun): Promise<void> {
    return this.handle(SECOND, event, run);
  }

  @OnOutboxEvent(Later, { name: FIRST, dueAt: ({ due }) => (due === undefined ? undefined : new Date(due)) })
  later(event: OutboxEvent<Payload>, run: DeliveryRun): Promise<void> {
    return this.handle(FIRST, event, run);
  }

  private async handle(subscriber: string, event: OutboxEvent<Payload>, run: DeliveryRun): Promise<void> {
    const { eventId, tenantId, orderingKey: key } = event;
    const { attempt } = run;
    const seen: Seen = { process: this.process, subscriber, n: event.payload.n, key, attempt, eventId, tenantId };
    this.starts.push(seen);
    await this.behave[subscriber]?.(event, run, seen);
    this.ends.push(seen);
  }
}

@Module({ providers: [Handlers], exports: [Handlers] })
class SubscribersModule {}

/** nestjs-pino keeps one logger for all applications of a (real) process: the first one's. */
const log: Record<string, unknown>[] = [];
const logger = createLogger(
  { level: 'info' },
  new Writable({
    write(chunk: Buffer, _encoding, done) {
      for (const line of chunk.toString().split('\n')) if (line !== '') log.push(JSON.parse(line));
      done();
    },
  }),
);

/** One process of a deployment: the infrastructure's own providers and the subscribers of the tests. */
export class OutboxProcess {
  private constructor(
    readonly name: string,
    readonly context: INestApplicationContext,
  ) {}

  private readonly logFrom = log.length;

  /** Every line since this process started, of all processes. */
  get log(): Record<string, unknown>[] {
    return log.slice(this.logFrom);
  }

  static async start(databaseUrl: string, name: string, env: Record<string, string> = {}): Promise<OutboxProcess> {
    const config = loadConfig({
      NODE_ENV: 'test',
      DATABASE_URL: databaseUrl,
      TWILIO_ACCOUNT_SID: `AC${'0'.repeat(32)}`,
      TWILIO_AUTH_TOKEN: 'unused',
      ...env,
    });
    const root = {
      module: class Root {},
      imports: [
        LoggerModule.forRoot({ pinoHttp: { logger, autoLogging: false }, forRoutes: [] }),
        InfraModule.forRoot(config),
        SubscribersModule,
      ],
    };
    const context = await NestFactory.createApplicationContext(root, { logger: false, abortOnError: false });
    context.get(Handlers).process = name;
    return new OutboxProcess(name, context);
  }

  get handlers(): Handlers {
    return this.context.get(Handlers);
  }

  get dispatcher(): Dispatcher {
    return this.context.get(Dispatcher);
  }

  get database(): Database {
    return this.context.get(Database);
  }

  /** Publishes in a transaction of its own; `also` runs in it, too. */
  publish(
    key: string,
    n: number,
    { contract = Ping, tenantId = TENANT, due, gate, also }: PublishOptions = {},
  ): Promise<string> {
    return this.database.transaction(async (tx) => {
      const body = { n, ...(due && { due: due.toISOString() }), ...(gate && { gate }) };
      const id = await this.context.get(Outbox).publish(tx, contract, { tenantId, orderingKey: key, payload: body });
      await also?.(tx);
      return id;
    });
  }

  /** Lines whose message contains `text`. */
  lines(text: string): Record<string, unknown>[] {
    return this.log.filter((line) => String(line['message']).includes(text));
  }

  stop(): Promise<void> {
    return this.context.close();
  }
}

export interface PublishOptions {
  contract?: typeof Ping;
  tenantId?: string;
  due?: Date;
  /** The account that the handler of a `Ping` will ask. */
  gate?: string;
  also?: (tx: Transaction) => Promise<void>;
}

/** Updates that wait for a test. */
export interface HoldUp {
  /** How many statements wait just now. */
  count(): Promise<number>;
  letGo(): Promise<void>;
  /** Ends the connections of those that wait. */
  terminate(): Promise<void>;
  /** Lets go, and takes the trigger away. */
  remove(): Promise<void>;
}

export const TENANT = '00000000-0000-4000-8000-000000000001';
export const OTHER_TENANT = '00000000-0000-4000-8000-000000000002';

/** A database and the processes on it. */
export class OutboxHarness {
  readonly processes: OutboxProcess[] = [];
  private constructor(
    readonly url: string,
    /** Ground truth; not a connection of any process. */
    readonly db: pg.Pool,
    private readonly drop: () => Promise<void>,
  ) {}

  static async start(): Promise<OutboxHarness> {
    const database = await cloneDatabase();
    const db = new pg.Pool({ connectionString: database.url, max: 4, application_name: 'ground-truth' });
    db.on('error', () => {});
    await db.query('create table public.effects (subscriber text not null, n int not null, process text)');
    return new OutboxHarness(database.url, db, database.drop);
  }

  async process(name: string, env: Record<string, string> = {}): Promise<OutboxProcess> {
    const started = await OutboxProcess.start(this.url, name, env);
    this.processes.push(started);
    return started;
  }

  async stopProcess(process: OutboxProcess): Promise<void> {
    this.processes.splice(this.processes.indexOf(process), 1);
    await process.stop();
  }

  async count(sql: string, parameters: unknown[] = []): Promise<number> {
    const { rows } = await this.db.query<{ count: number }>(`select count(*)::int as count from ${sql}`, parameters);
    return rows[0]?.count ?? 0;
  }

  /** Holds up each update of a delivery for which `when` (SQL, of `old` and `new`) is true, until it is let go. */
  async holdUp(when: string): Promise<HoldUp> {
    const holder = await this.db.connect();
    await holder.query(`
      create function public.hold_up() returns trigger language plpgsql as
        'begin perform pg_advisory_xact_lock_shared(1, 1); return new; end';
      create trigger hold_up before update on infra.outbox_deliveries for each row
        when (${when}) execute function public.hold_up();
      select pg_advisory_lock(1, 1)`);
    const waiting = `pg_locks where locktype = 'advisory' and (classid, objid) = (1, 1) and not granted
      and database = (select oid from pg_database where datname = current_database())`;
    const remove = 'select pg_advisory_unlock_all(); drop function public.hold_up cascade';
    return {
      count: () => this.count(waiting),
      letGo: async () => void (await holder.query('select pg_advisory_unlock(1, 1)')),
      terminate: async () => void (await this.db.query(`select pg_terminate_backend(pid) from ${waiting}`)),
      remove: async () => void (await holder.query(remove).finally(() => holder.release(true))),
    };
  }

  /** Until nothing is left to deliver. */
  async drained(deadlineMs = 20_000): Promise<void> {
    await eventually(async () => (await this.count('infra.outbox_deliveries')) === 0, {
      deadlineMs,
      label: 'the deliveries are drained',
    });
  }

  /** Cuts connections of the processes as a failing server would; `application` narrows it to one kind. */
  async terminateBackends(application = 'nevermisscall%'): Promise<number> {
    const { rowCount } = await this.db.query(
      `select pg_terminate_backend(pid) from pg_stat_activity
       where datname = current_database() and application_name like $1`,
      [application],
    );
    return rowCount ?? 0;
  }

  /** Deliveries written by SQL, as a process that is gone would have left them; each in its own lane unless told. */
  async insertRows(rows: number, options: InsertOptions = {}): Promise<string[]> {
    const {
      tenantId = TENANT,
      keyPrefix = 'row',
      oneLane = false,
      available = "now() - interval '1 second'",
    } = options;
    const eventIds = Array.from({ length: rows }, () => randomUUIDv7());
    await this.db.query(
      `with given as (
         select event_id, jsonb_build_object('n', n - 1) as payload, n, gen_random_uuid() as correlation_id,
           $3::text || case when $4 then '' else (n - 1)::text end as ordering_key
         from unnest($5::uuid[]) with ordinality as g (event_id, n)
       ), events as (
         insert into infra.outbox_events (event_id, event_name, schema_version, tenant_id, occurred_at, correlation_id,
           ordering_key, payload)
         select event_id, $1, '1.0.0', $2, now(), correlation_id, ordering_key, payload from given
       )
       insert into infra.outbox_deliveries (event_id, event_name, subscriber, tenant_id, ordering_key, lane, due_at,
         available_at, leased_until, owner, rescued, started, envelope)
       select event_id, $1, $6, $2, ordering_key, infra.outbox_lane($6, ordering_key), least(now(), ${available}),
         case when $7::int is null then ${available} else least(now(), ${available}) end,
         case when $7::int is null then '-infinity' else ${available} end, $7::int, $8, $9,
         infra.outbox_envelope('1.0.0', now(), correlation_id, null, null, payload)
       from given order by n`,
      [
        Ping.name,
        tenantId,
        keyPrefix,
        oneLane,
        eventIds,
        FIRST,
        options.owner ?? null,
        options.rescued ?? 0,
        options.started ?? 0,
      ],
    );
    return eventIds;
  }

  async stop(): Promise<void> {
    await Promise.all(this.processes.map((process) => process.stop()));
    await this.db.end();
    await this.drop();
  }
}

export interface InsertOptions {
  tenantId?: string;
  keyPrefix?: string;
  oneLane?: boolean;
  /** SQL expression. */
  available?: string;
  owner?: number;
  rescued?: number;
  started?: number;
}

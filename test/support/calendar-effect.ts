import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { PinoLogger } from 'nestjs-pino';
import { ProviderCall } from '../../src/common/decorators/provider-call.decorator.js';
import { Database, type Transaction } from '../../src/infra/database/database.js';
import type {
  Effect,
  EffectTimings,
  Failure,
  Found,
  Intent,
  NotAccepted,
  OpenAttempt,
  Outcome,
} from '../../src/infra/effects/effect.js';
import { GateLimits } from '../../src/infra/gates/provider-gate.policy.js';
import { ProviderGates } from '../../src/infra/gates/provider-gates.service.js';
import { ProviderHttp, type ProviderResponse, ProviderUnreachable } from '../../src/infra/http/provider-http.client.js';

const silent = new PinoLogger({ pinoHttp: { level: 'silent' } });

export type CalendarFault = 'hang' | 'hang_accepted' | 'reset' | 'reset_accepted' | 500 | '500_accepted' | 429 | 409;

/** A calendar's API, as small as can be, which knows what it really wrote. */
export class CalendarServer {
  readonly ledger: { id: string; note: string; at: number }[] = [];
  /** Requests to write, whatever became of them. */
  requests = 0;
  /** One for each of the next requests to write. */
  readonly faults: CalendarFault[] = [];
  /** Nothing that was written is shown. */
  isBlind = false;
  private readonly server: Server = createServer((request, response) => {
    const url = new URL(request.url ?? '', 'http://calendar');
    if (request.method === 'GET') {
      const note = url.searchParams.get('note');
      const events = this.isBlind ? [] : this.ledger.filter((event) => event.note === note);
      return response.end(JSON.stringify(events.map(({ id, at }) => ({ id, ageMs: Date.now() - at }))));
    }
    this.requests += 1;
    const fault = this.faults.shift();
    if (fault === 'hang') return;
    if (fault === 'reset') return request.socket.resetAndDestroy();
    if (typeof fault === 'number') return response.writeHead(fault).end('{}');
    const id = `event-${this.ledger.push({ id: '', note: url.searchParams.get('note') ?? '', at: Date.now() })}`;
    Object.assign(this.ledger.at(-1) ?? {}, { id });
    if (fault === 'hang_accepted') return;
    if (fault === 'reset_accepted') return request.socket.resetAndDestroy();
    response.writeHead(fault === '500_accepted' ? 500 : 201).end(JSON.stringify({ id }));
  });

  async start(): Promise<string> {
    await new Promise<void>((resolve) => this.server.listen(0, '127.0.0.1', resolve));
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  async stop(): Promise<void> {
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
  }
}

export const CALENDAR_TABLES = `
  create table calendar_writes (id text primary key, phase text not null default 'requested', attempt int not null default 0,
    event_id text, failure text, wanted boolean not null default true, due_at timestamptz not null default now());
  create table calendar_attempts (id text, attempt int, resend boolean, outcome text not null default 'open', event_id text,
    started_at timestamptz not null default clock_timestamp(), primary key (id, attempt))`;

const READ = `select id, phase, attempt, wanted, extract(epoch from clock_timestamp() - due_at)::float8 * 1000 as age_ms
  from calendar_writes where id = $1`;

export interface CalendarWrite extends Intent {
  id: string;
  wanted: boolean;
}

class CalendarClient {
  constructor(
    private readonly http: ProviderHttp,
    private readonly baseUrl: string,
  ) {}

  @ProviderCall({ provider: 'google', endpoint: 'events.insert' })
  insert(note: string): Promise<ProviderResponse> {
    return this.http.request({ method: 'POST', url: this.baseUrl, query: { note }, timeoutMs: 400 });
  }

  @ProviderCall({ provider: 'google', endpoint: 'events.list' })
  list(note: string): Promise<ProviderResponse> {
    return this.http.request({ method: 'GET', url: this.baseUrl, query: { note }, timeoutMs: 400 });
  }
}

/** A second kind of effect: an entry in a calendar, recognised by the note that carries our id. */
export class CalendarWrites implements Effect<CalendarWrite, string> {
  readonly context = 'scheduling';
  staleMarkerMs = 5_000;
  private readonly client: CalendarClient;
  readonly http = new ProviderHttp(silent, new ProviderGates(silent, new GateLimits()));

  constructor(
    private readonly database: Database,
    baseUrl: string,
  ) {
    this.client = new CalendarClient(this.http, baseUrl);
  }

  timings(): EffectTimings {
    const { staleMarkerMs } = this;
    return { staleMarkerMs, lookAtMs: [100, 600], backoffBaseMs: 20, tooLateMs: 60_000, maxResends: 1 };
  }

  async read(id: string): Promise<CalendarWrite> {
    const [write] = await this.database.query<CalendarWrite>(READ, [id]);
    if (!write) throw new Error('no such write');
    return write;
  }

  async lock(tx: Transaction, id: string): Promise<CalendarWrite | undefined> {
    const [write] = await tx.query<CalendarWrite>(`${READ} for update`, [id]);
    return write;
  }

  async prepare({ id }: CalendarWrite) {
    return (): Promise<Outcome<string>> =>
      this.client.insert(id).then(
        ({ status, body }) => outcomeOf(status, body),
        (error: ProviderUnreachable) => ({
          kind: error.processed === 'no' ? 'not_processed' : 'unknown',
          httpStatus: error.kind,
        }),
      );
  }

  async objection(_tx: Transaction, { wanted }: CalendarWrite): Promise<string | undefined> {
    return wanted ? undefined : 'cancelled';
  }

  async mark(tx: Transaction, { id, attempt }: CalendarWrite, resend: boolean): Promise<number> {
    await tx.query(`update calendar_writes set phase = 'submitting', attempt = attempt + 1 where id = $1`, [id]);
    await tx.query('insert into calendar_attempts (id, attempt, resend) values ($1, $2, $3)', [
      id,
      attempt + 1,
      resend,
    ]);
    return attempt + 1;
  }

  openAttempts(id: string, tx: Pick<Transaction, 'query'> = this.database): Promise<OpenAttempt[]> {
    const open = `select attempt, extract(epoch from clock_timestamp() - started_at)::float8 * 1000 as age_ms
      from calendar_attempts where id = $1 and outcome in ('open', 'unknown') order by attempt`;
    return tx.query<OpenAttempt>(open, [id]);
  }

  async look({ id }: CalendarWrite): Promise<Found<string>[] | undefined> {
    const answer = await this.client.list(id).catch(() => undefined);
    if (answer?.status !== 200) return undefined;
    const events = JSON.parse(answer.body) as { id: string; ageMs: number }[];
    return events.map((event) => ({ receipt: event.id, ageMs: event.ageMs }));
  }

  async unclaimed(_tx: Transaction, _write: CalendarWrite, found: readonly Found<string>[]) {
    return found;
  }

  async accept(tx: Transaction, { id }: CalendarWrite, attempt: number, eventId: string): Promise<void> {
    const write = `update calendar_writes set phase = 'settled', event_id = coalesce(event_id, $2) where id = $1`;
    await tx.query(write, [id, eventId]);
    const finish = `update calendar_attempts set outcome = 'accepted', event_id = $3 where id = $1 and attempt = $2`;
    await tx.query(finish, [id, attempt, eventId]);
  }

  async record(tx: Transaction, { id }: CalendarWrite, attempt: number, outcome: NotAccepted): Promise<void> {
    const finish = 'update calendar_attempts set outcome = $3 where id = $1 and attempt = $2';
    await tx.query(finish, [id, attempt, outcome.kind]);
  }

  async setPhase(tx: Transaction, { id }: CalendarWrite, phase: string): Promise<void> {
    await tx.query('update calendar_writes set phase = $2 where id = $1', [id, phase]);
  }

  async fail(tx: Transaction, { id }: CalendarWrite, { reason }: Failure): Promise<void> {
    await tx.query(`update calendar_writes set phase = 'settled', failure = $2 where id = $1`, [id, reason]);
  }
}

function outcomeOf(status: number, body: string): Outcome<string> {
  const httpStatus = String(status);
  if (status === 201) return { kind: 'accepted', receipt: (JSON.parse(body) as { id: string }).id };
  if (status === 429) return { kind: 'not_processed', httpStatus };
  return status < 500 ? { kind: 'refused', httpStatus, reason: 'conflict' } : { kind: 'unknown', httpStatus };
}

import pg from 'pg';
import { SIMULATED_ACCOUNT } from '../../src/demo/development.js';
import { TwilioSimulator, type TwilioSimulatorOptions } from '../../src/demo/simulators/twilio/twilio-simulator.js';
import { cloneDatabase } from '../support/database.js';
import { eventually } from '../support/eventually.js';
import { OwnPostgres } from '../support/own-postgres.js';
import { onboard, productionEnvironment, SpawnedApp } from '../support/spawned-app.js';
import { TcpProxy } from '../support/tcp-proxy.js';
import { type CheckOptions, check, type Evidence, isSettled, type PlacedCall, type Violation } from './checker.js';
import { readEvidence } from './evidence.js';

export const BUSINESS = '+12125550170';
/** A process answers a request that nobody saw at the provider after 20 s at the earliest, and a restart comes before. */
const SETTLE_MS = 90_000;
const READY_MS = 40_000;

/** One process of the deployment, with wires of its own to the database and to the provider. */
export class Member {
  app: SpawnedApp | undefined;

  constructor(
    readonly name: string,
    readonly database: TcpProxy,
    readonly provider: TcpProxy,
    private readonly env: Record<string, string> & { PUBLIC_BASE_URL: string },
    private readonly preload: readonly string[],
  ) {}

  get port(): number {
    return Number(this.env['PORT']);
  }

  private get ownUrl(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  /** Starts it and waits until it takes calls. */
  async start(): Promise<void> {
    this.app = new SpawnedApp('main.js', { env: this.env, preload: this.preload });
    await this.app.ready(this.ownUrl, READY_MS);
  }

  /** Waits until it takes calls and, unlike after a mere start, has its outbox session. */
  ready(): Promise<void> {
    return this.running.ready(this.ownUrl, READY_MS);
  }

  get running(): SpawnedApp {
    if (!this.app || this.app.exit) throw new Error(`${this.name} does not run`);
    return this.app;
  }

  owns(clientPort: number): boolean {
    return this.database.connections.some((wire) => wire.localPort() === clientPort);
  }
}

export interface WorldOptions {
  /** A durable server that may crash; otherwise a database on the test run's server. */
  ownPostgres?: boolean;
  members?: number;
  env?: Record<string, string>;
  simulator?: Partial<TwilioSimulatorOptions>;
  /** Modules loaded before the program, by member. */
  preload?: readonly (readonly string[])[];
}

/**
 * A deployment that can be hurt everywhere: processes behind a balancer, each with a proxy to Postgres and one to the
 * simulated provider, whose ledger is the truth. It remembers every call that was placed.
 */
export class World {
  readonly placed: PlacedCall[] = [];
  members: Member[] = [];
  /** Whom the balancer sends webhooks to; all, unless told otherwise. */
  entrance: Member[] | undefined;

  private constructor(
    readonly twilio: TwilioSimulator,
    /** Undefined where the test run's own server is used. */
    readonly postgres: OwnPostgres | undefined,
    /** Ground truth: by a wire that no fault touches; fails while Postgres is down. */
    readonly db: pg.Pool,
    readonly balancer: TcpProxy,
    private readonly cleanUps: (() => Promise<unknown>)[],
  ) {}

  static async start(options: WorldOptions = {}): Promise<World> {
    const cleanUps: (() => Promise<unknown>)[] = [];
    const postgres = options.ownPostgres ? await OwnPostgres.start() : undefined;
    const clone = postgres ? undefined : await cloneDatabase();
    cleanUps.unshift(() => postgres?.remove() ?? clone?.drop() ?? Promise.resolve());
    const ports = () => postgres?.ports ?? [Number(new URL(clone?.url ?? '').port)];
    const urlVia = ({ port }: TcpProxy) => {
      const url = new URL(postgres?.url(port) ?? clone?.url ?? '');
      url.port = String(port);
      return url.href;
    };
    const proxyTo = async (targets: () => readonly number[], isPostgres = false) => {
      const proxy = await TcpProxy.start({ targets, postgres: isPostgres });
      cleanUps.unshift(() => proxy.stop());
      return proxy;
    };
    const db = new pg.Pool({
      connectionString: urlVia(await proxyTo(ports)),
      max: 4,
      application_name: 'ground-truth',
    });
    db.on('error', () => undefined);
    cleanUps.unshift(() => db.end());
    const twilio = await TwilioSimulator.start({ ...SIMULATED_ACCOUNT, ...options.simulator });
    cleanUps.unshift(() => twilio.stop());

    let world: World | undefined;
    const live: Member[] = [];
    const balancer = await proxyTo(() => (world?.entrance ?? live).map(({ port }) => port));
    const publicUrl = `http://127.0.0.1:${balancer.port}`;
    twilio.webhookBaseUrl = publicUrl;
    world = new World(twilio, postgres, db, balancer, cleanUps);
    world.members = live;
    const providerPort = Number(new URL(twilio.baseUrl).port);
    for (let n = 0; n < (options.members ?? 2); n += 1) {
      const database = await proxyTo(ports, true);
      const provider = await proxyTo(() => [providerPort]);
      const env = {
        ...(await productionEnvironment(urlVia(database), { baseUrl: `http://127.0.0.1:${provider.port}` })),
        PUBLIC_BASE_URL: publicUrl,
        LOG_LEVEL: 'warn',
        ...options.env,
      };
      live.push(new Member(`member ${n + 1}`, database, provider, env, options.preload?.[n] ?? []));
    }
    await Promise.all(live.map((member) => member.start()));
    await onboard(publicUrl, { numbers: [BUSINESS] });
    return world;
  }

  /**
   * A missed call, its webhook repeated until it is accepted, as Twilio does. A later call of the same caller counts
   * as one outside of the repeat window: a second text of the same conversation.
   */
  async call(caller: string, isWanted: () => boolean = () => true): Promise<void> {
    const call: PlacedCall = {
      callSid: `CA${String(this.placed.length).padStart(32, '0')}`,
      caller,
      acknowledged: false,
    };
    const isRepeat = this.placed.some((earlier) => earlier.caller === caller);
    this.placed.push(call);
    if (isRepeat) await this.ageReplyWindow(caller);
    while (!call.acknowledged && isWanted()) {
      const { status } = await this.twilio.placeCall({
        ...{ from: caller, to: BUSINESS, callSid: call.callSid, withRetries: 100 },
      });
      call.acknowledged = status === 200;
    }
  }

  private ageReplyWindow(caller: string): Promise<unknown> {
    const age = `update telephony.reply_windows set opened_at = opened_at - interval '1 day' where caller = $1`;
    return eventually(() => this.db.query(age, [caller]), { deadlineMs: 120_000, label: 'the reply window is over' });
  }

  /** The member at the other end of a connection, by its port as Postgres sees it. */
  memberAt(clientPort: number): Member {
    const member = this.members.find((one) => one.owns(clientPort));
    if (!member) throw new Error(`nobody is connected from ${clientPort}`);
    return member;
  }

  /** Ends some connections of the members, any of them, as a failing server would; answers how many. */
  async terminateBackends(most: number): Promise<number> {
    const { rowCount } = await this.db.query(
      `select pg_terminate_backend(pid) from (
         select pid from pg_stat_activity
         where datname = current_database() and application_name like 'nevermisscall%' order by random() limit $1) chosen`,
      [most],
    );
    return rowCount ?? 0;
  }

  evidence(): Promise<Evidence> {
    return readEvidence(this.db, this.twilio, this.placed);
  }

  /** Waits until nothing more is going to happen, then compares what happened with what was promised. */
  async verdict(options: CheckOptions = {}, settleMs = SETTLE_MS): Promise<Violation[]> {
    let last: Evidence | undefined;
    const settled = async () => {
      last = await this.evidence();
      return isSettled(last) ? last : null;
    };
    const evidence = await eventually(settled, { deadlineMs: settleMs, label: 'everything is settled' }).catch(
      // What has not settled is what the checker names.
      (error: unknown) => last ?? Promise.reject(error),
    );
    return check(evidence, options);
  }

  async stop(): Promise<void> {
    await Promise.all(this.members.map(({ app }) => app?.kill('SIGKILL')));
    for (const cleanUp of this.cleanUps) await cleanUp();
  }
}

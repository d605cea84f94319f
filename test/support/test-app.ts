import { Writable } from 'node:stream';
import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import pg from 'pg';
import supertest from 'supertest';
import { createApp } from '../../src/app.factory.js';
import { SIMULATED_ACCOUNT } from '../../src/demo/development.js';
import { TwilioSimulator, type TwilioSimulatorOptions } from '../../src/demo/simulators/twilio/twilio-simulator.js';
import { loadConfig } from '../../src/infra/config/config.js';
import { SendingTimings } from '../../src/telephony/messages/sending.policy.js';
import { cloneDatabase } from './database.js';
import { freePort } from './free-port.js';

export const BUSINESS_NUMBER = '+12125550100';
export const CALLER = '+14155550132';

export interface TestAppOptions {
  /** Environment over the test's own. */
  env?: Record<string, string>;
  simulator?: Partial<TwilioSimulatorOptions>;
  /** How long sending waits, where a test cannot wait as long. */
  sendingTimings?: Partial<SendingTimings>;
  /** Share another app's database and provider: a second process of the same deployment. */
  beside?: TestApp;
}

/** The whole application on a real port, over a database of its own and a simulated Twilio. */
export class TestApp {
  private constructor(
    readonly app: NestFastifyApplication,
    readonly twilio: TwilioSimulator,
    readonly databaseUrl: string,
    readonly db: pg.Pool,
    readonly baseUrl: string,
    /** Every log line so far, parsed. */
    readonly log: Record<string, unknown>[],
    private readonly cleanUp: () => Promise<void>,
  ) {}

  static async start(options: TestAppOptions = {}): Promise<TestApp> {
    const { beside } = options;
    const database = beside ? { url: beside.databaseUrl, drop: async () => {} } : await cloneDatabase();
    const port = await freePort();
    const baseUrl = `http://127.0.0.1:${port}`;
    const twilio =
      beside?.twilio ??
      (await TwilioSimulator.start({ ...SIMULATED_ACCOUNT, webhookBaseUrl: baseUrl, ...options.simulator }));
    const config = loadConfig({
      NODE_ENV: 'test',
      HOST: '127.0.0.1',
      PORT: String(port),
      PUBLIC_BASE_URL: baseUrl,
      DATABASE_URL: database.url,
      TWILIO_ACCOUNT_SID: SIMULATED_ACCOUNT.accountSid,
      TWILIO_AUTH_TOKEN: SIMULATED_ACCOUNT.authToken,
      TWILIO_API_BASE_URL: twilio.baseUrl,
      ...options.env,
    });
    const log: Record<string, unknown>[] = [];
    const sink = new Writable({
      write(chunk: Buffer, _encoding, done) {
        for (const line of chunk.toString().split('\n')) if (line !== '') log.push(JSON.parse(line));
        done();
      },
    });
    const app = await createApp(config, sink);
    Object.assign(app.get(SendingTimings, { strict: false }), options.sendingTimings);
    await app.listen({ host: '127.0.0.1', port });
    const db = new pg.Pool({ connectionString: database.url, max: 2 });
    db.on('error', () => {});
    return new TestApp(app, twilio, database.url, db, baseUrl, log, async () => {
      await app.close();
      await db.end();
      if (!beside) await twilio.stop();
      await database.drop();
    });
  }

  /** HTTP against this app. */
  get http(): ReturnType<typeof supertest> {
    return supertest(this.baseUrl);
  }

  /** Onboards a tenant as an operator would; answers its id. */
  async onboard(tenant: Record<string, unknown> = {}): Promise<string> {
    const response = await this.http
      .post('/ops/api/tenants')
      .auth('ops', 'ops')
      .send({
        name: "Joe's Plumbing",
        time_zone: 'America/New_York',
        numbers: [BUSINESS_NUMBER],
        voice_mode: 'forward_target',
        a2p_status: 'approved',
        ...tenant,
      })
      .expect(201);
    return response.body.tenant_id as string;
  }

  /** One row of SQL, as ground truth. */
  async row<Row extends pg.QueryResultRow>(sql: string, parameters: unknown[] = []): Promise<Row | undefined> {
    const { rows } = await this.db.query<Row>(sql, parameters);
    return rows[0];
  }

  /** How much was ever written because of a webhook. */
  async written(): Promise<Record<string, number>> {
    const row = await this.row<Record<string, number>>(`
      select (select count(*)::int from telephony.webhook_events) as webhooks,
        (select count(*)::int from telephony.calls) as calls,
        (select count(*)::int from telephony.messages) as messages,
        (select count(*)::int from telephony.parked_callbacks) as callbacks,
        (select count(*)::int from compliance.consent_ledger) as consents,
        (select count(*)::int from infra.outbox_events) as events`);
    if (!row) throw new Error('no counts');
    return row;
  }

  /** A sample of /metrics, or undefined when there is none. */
  async metric(sample: string): Promise<number | undefined> {
    const { text } = await this.http.get('/metrics').auth('metrics', 'metrics').expect(200);
    const line = text.split('\n').find((candidate) => candidate.startsWith(`${sample} `));
    return line === undefined ? undefined : Number(line.slice(sample.length + 1));
  }

  stop(): Promise<void> {
    return this.cleanUp();
  }
}

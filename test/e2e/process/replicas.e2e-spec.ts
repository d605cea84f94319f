import { jest } from '@jest/globals';
import pg from 'pg';
import { SIMULATED_ACCOUNT } from '../../../src/demo/development.js';
import { TwilioSimulator } from '../../../src/demo/simulators/twilio/twilio-simulator.js';
import { cloneDatabase, type TestDatabase } from '../../support/database.js';
import { eventually } from '../../support/eventually.js';
import {
  emptyDatabase,
  killAllSpawned,
  onboard,
  productionEnvironment,
  SpawnedApp,
} from '../../support/spawned-app.js';

const BUSINESS = '+12125550150';
// Whole processes start and end here, some of them with a database server of their own.
jest.setTimeout(60_000);

const databases: TestDatabase[] = [];
let twilio: TwilioSimulator;

beforeAll(async () => {
  twilio = await TwilioSimulator.start({ ...SIMULATED_ACCOUNT });
});
afterEach(async () => {
  await killAllSpawned();
  for (const database of databases.splice(0)) await database.drop();
});
afterAll(() => twilio.stop());

async function use(database: Promise<TestDatabase>): Promise<string> {
  databases.push(await database);
  return (await database).url;
}

async function query<Row extends pg.QueryResultRow>(url: string, sql: string): Promise<Row[]> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  return client
    .query<Row>(sql)
    .then(({ rows }) => rows)
    .finally(() => client.end());
}

describe('web and worker as two processes', () => {
  it('send the text of a call that the other one took in, told at once rather than polling for it', async () => {
    const url = await use(cloneDatabase());
    const web = await productionEnvironment(url, twilio);
    const worker = await productionEnvironment(url, twilio);
    // So rarely that only a notification can explain a text in time.
    const OUTBOX_POLL_MS = '60000';
    const work = { ...worker, ROLE: 'worker', OUTBOX_POLL_MS, PUBLIC_BASE_URL: web.PUBLIC_BASE_URL };
    const [front, back] = [
      new SpawnedApp('main.js', { env: { ...web, ROLE: 'web', OUTBOX_POLL_MS } }),
      new SpawnedApp('main.js', { env: work }),
    ];
    await Promise.all([front.ready(web.PUBLIC_BASE_URL), back.ready(worker.PUBLIC_BASE_URL)]);
    await onboard(web.PUBLIC_BASE_URL, { numbers: [BUSINESS] });

    const latencies: number[] = [];
    for (let n = 0; n < 20; n += 1) {
      const from = `+14155560${String(n).padStart(3, '0')}`;
      const call = await twilio.placeCall({ from, to: BUSINESS, webhookBaseUrl: web.PUBLIC_BASE_URL });
      expect(call.status).toBe(200);
      const text = await twilio.messageTo(from);
      latencies.push(text.dateCreated.getTime() - call.startedAt.getTime());
      if (n === 0) {
        expect(text.params['StatusCallback']).toContain(web.PUBLIC_BASE_URL);
        expect((await twilio.callbackFor(text.sid, 'delivered')).result?.status).toBe(200);
      }
    }
    latencies.sort((a, b) => a - b);
    expect(latencies[9]).toBeLessThan(500);
    expect(latencies[19]).toBeLessThan(2_000);
    expect(twilio.ledger.messages).toHaveLength(20);
    // The web process has handled nothing itself.
    expect(front.lines.filter((line) => line.includes('"event handled"'))).toEqual([]);
    expect(back.lines.filter((line) => line.includes('"event handled"')).length).toBeGreaterThanOrEqual(40);

    const endings = await Promise.all([front.kill('SIGTERM'), back.kill('SIGTERM')]);
    expect(endings).toEqual([
      { code: 0, signal: null },
      { code: 0, signal: null },
    ]);
  });
});

describe('migrations', () => {
  it('let two replicas start at once on an empty database', async () => {
    const url = await use(emptyDatabase());
    const envs = [await productionEnvironment(url, twilio), await productionEnvironment(url, twilio)];
    const apps = envs.map((env) => ({ app: new SpawnedApp('main.js', { env }), baseUrl: env.PUBLIC_BASE_URL }));
    await Promise.all(apps.map(({ app, baseUrl }) => app.ready(baseUrl)));
    const instances = 'select instance_id from infra.outbox_instances';
    await eventually(async () => (await query(url, instances)).length === 2, { label: 'both dispatchers are up' });
    await expectEachAppliedOnce(url);
    for (const { app } of apps) expect(await app.kill('SIGTERM')).toEqual({ code: 0, signal: null });
  });

  it('run three at once, and again, and apply each one once', async () => {
    const url = await use(emptyDatabase());
    const env = { NODE_ENV: 'production', DATABASE_URL: url };
    const printed = async () => {
      const migration = new SpawnedApp('migrate.js', { env });
      expect(await migration.ended).toEqual({ code: 0, signal: null });
      expect(migration.stderr).toBe('');
      return migration.lines;
    };
    const outputs = (await Promise.all([printed(), printed(), printed()])).flat().sort();
    expect(outputs).toEqual([
      expect.stringMatching(/^applied \w+(, \w+)+$/),
      'the database is up to date',
      'the database is up to date',
    ]);
    expect(await printed()).toEqual(['the database is up to date']);
    await expectEachAppliedOnce(url);
  });
});

async function expectEachAppliedOnce(url: string): Promise<void> {
  const rows = await query<{ name: string }>(url, 'select name from schema_migrations');
  expect(rows.length).toBeGreaterThan(3);
  expect(new Set(rows.map(({ name }) => name)).size).toBe(rows.length);
}

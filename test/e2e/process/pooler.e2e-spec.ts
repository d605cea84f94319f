import { jest } from '@jest/globals';
import pg from 'pg';
import { SIMULATED_ACCOUNT } from '../../../src/demo/development.js';
import { TwilioSimulator } from '../../../src/demo/simulators/twilio/twilio-simulator.js';
import { cloneDatabase, type TestDatabase } from '../../support/database.js';
import { HAS_PGBOUNCER, PgBouncer } from '../../support/pgbouncer.js';
import { killAllSpawned, onboard, productionEnvironment, SpawnedApp } from '../../support/spawned-app.js';

const BUSINESS = '+12125550150';
const SESSIONS = 3;
const CALLS = 60;
const LIMITS = 'set statement_timeout = 8000; set idle_in_transaction_session_timeout = 30000';
// Whole processes start and end here.
jest.setTimeout(60_000);

const describeOrSkip = HAS_PGBOUNCER ? describe : describe.skip;

describeOrSkip(
  'PgBouncer in transaction mode before the database (skipped where it is not installed: apt-get install pgbouncer)',
  () => {
    let database: TestDatabase;
    let twilio: TwilioSimulator;
    let pooler: PgBouncer | undefined;
    beforeAll(async () => {
      database = await cloneDatabase();
      twilio = await TwilioSimulator.start({ ...SIMULATED_ACCOUNT });
    });
    afterEach(async () => {
      await killAllSpawned();
      await pooler?.stop();
    });
    afterAll(async () => {
      await twilio.stop();
      await database.drop();
    });

    const environment = async (role: string) => ({
      ...(await productionEnvironment(pooler?.url ?? '', twilio)),
      DATABASE_DIRECT_URL: database.url,
      ROLE: role,
      // So rarely that only a notification through the pooler can explain a text in time.
      OUTBOX_POLL_MS: '60000',
    });

    it('serves web and worker with fewer sessions than they have connections, and every call gets its one text', async () => {
      pooler = await PgBouncer.start(database.url, { poolSize: SESSIONS, connectQuery: LIMITS });
      const [web, worker] = [await environment('web'), await environment('worker')];
      const front = new SpawnedApp('main.js', { env: web });
      const back = new SpawnedApp('main.js', { env: { ...worker, PUBLIC_BASE_URL: web.PUBLIC_BASE_URL } });
      await Promise.all([front.ready(web.PUBLIC_BASE_URL), back.ready(worker.PUBLIC_BASE_URL)]);
      await onboard(web.PUBLIC_BASE_URL, { numbers: [BUSINESS] });

      const callers = Array.from({ length: CALLS }, (_, n) => `+14155561${String(n).padStart(3, '0')}`);
      const calls = await Promise.all(
        callers.map((from) => twilio.placeCall({ from, to: BUSINESS, webhookBaseUrl: web.PUBLIC_BASE_URL })),
      );
      expect(calls.map(({ status }) => status)).toEqual(callers.map(() => 200));
      for (const caller of callers) await twilio.messageTo(caller);
      expect(twilio.ledger.messages).toHaveLength(CALLS);

      const direct = new pg.Client({ connectionString: database.url });
      await direct.connect();
      const { rows } = await direct.query<{ sessions: number }>(
        `select count(*)::int as sessions from pg_stat_activity
         where datname = current_database() and application_name in ('nevermisscall', '')`,
      );
      await direct.end();
      expect(rows[0]?.sessions).toBeGreaterThan(0);
      // The one that asks has no name either.
      expect(rows[0]?.sessions).toBeLessThanOrEqual(SESSIONS + 1);
      const trouble = [...front.lines, ...back.lines].filter((line) => /"level":"(warn|error|fatal)"/.test(line));
      expect(trouble).toEqual([]);
    });

    it('stops the boot where nothing limits how long a statement may take', async () => {
      pooler = await PgBouncer.start(database.url, { poolSize: SESSIONS });
      const app = new SpawnedApp('main.js', { env: await environment('all') });
      expect(await app.ended).toEqual({ code: 1, signal: null });
      expect(app.stderr).toMatch(
        /^The environment is not usable:\n {2}- DATABASE_URL: its pooler must give sessions a /,
      );
    });
  },
);

import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { jest } from '@jest/globals';
import { SIMULATED_ACCOUNT } from '../../../src/demo/development.js';
import { removeEmbeddedPostgres } from '../../../src/demo/embedded-postgres.js';
import { TwilioSimulator } from '../../../src/demo/simulators/twilio/twilio-simulator.js';
import { processesMentioning } from '../../integration/demo/fixtures/postgres-app.js';
import { eventually } from '../../support/eventually.js';
import { freePort } from '../../support/free-port.js';
import { basic, killAllSpawned, onboard, SpawnedApp } from '../../support/spawned-app.js';

const BUSINESS = '+12125550160';
const OPERATOR = { username: 'ops', password: 'ops' };
const isRoot = process.getuid?.() === 0;

// Whole processes start and end here, some of them with a database server of their own.
jest.setTimeout(60_000);

let dataDir: string;
let env: { DATA_DIR: string; PORT: string };
let baseUrl: string;
/** Only places calls: the texts go to the simulated provider inside the app. */
let caller: TwilioSimulator;

beforeAll(async () => {
  // As root the server runs as another user, who must be able to enter.
  dataDir = await mkdtemp(join(isRoot ? '/var/tmp' : tmpdir(), 'nmc-dev-'));
  await chmod(dataDir, 0o755);
  env = { DATA_DIR: dataDir, PORT: String(await freePort()) };
  baseUrl = `http://localhost:${env.PORT}`;
  caller = await TwilioSimulator.start({ ...SIMULATED_ACCOUNT, webhookBaseUrl: baseUrl });
});
afterAll(async () => {
  await killAllSpawned();
  await caller.stop();
  await removeEmbeddedPostgres(dataDir);
  await rm(dataDir, { recursive: true, force: true });
});

async function expectAnswered(from: string): Promise<void> {
  expect(await caller.placeCall({ from, to: BUSINESS })).toMatchObject({ status: 200 });
  await eventually(
    async () => {
      const scrape = await fetch(`${baseUrl}/metrics`, {
        headers: basic({ username: 'metrics', password: 'metrics' }),
      });
      const sent = /^integration_http_requests_total\{(?=.*endpoint="messages\.create")(?=.*status="201").*\} 1$/m;
      return sent.test(await scrape.text());
    },
    { label: 'the simulated provider has accepted the text' },
  );
}

describe('the app with nothing but a folder and a port', () => {
  let first: SpawnedApp;
  let server: number | undefined;

  it('brings its own Postgres and its own provider', async () => {
    first = new SpawnedApp('main.js', { env });
    await first.ready(baseUrl);
    [server] = processesMentioning(`-D ${dataDir}`);
    expect(server).toBeDefined();
    await onboard(baseUrl, { numbers: [BUSINESS] }, OPERATOR);
    await expectAnswered('+14155550161');
  });

  it('comes up again after it was killed, with the database that went on running, and leaves nothing behind', async () => {
    expect(await first.kill('SIGKILL')).toEqual({ code: null, signal: 'SIGKILL' });
    const second = new SpawnedApp('main.js', { env });
    await second.ready(baseUrl);
    expect(processesMentioning(`-D ${dataDir}`)).toEqual([server]);
    await expectAnswered('+14155550162');

    expect(await second.kill('SIGTERM')).toEqual({ code: 0, signal: null });
    expect(second.stderr).toBe('');
    expect(processesMentioning(dataDir)).toEqual([]);
  });

  it.each([
    ['LOG_LEVEL', { LOG_LEVEL: 'chatty' }],
    ['PORT', { PORT: 'http' }],
  ])('leaves no Postgres behind when %s is wrong', async (name, wrong) => {
    const app = new SpawnedApp('main.js', { env: { ...env, ...wrong } });
    expect(await app.ended).toEqual({ code: 1, signal: null });
    expect(app.stderr).toContain(`${name}: `);
    expect(processesMentioning(dataDir)).toEqual([]);
  });

  it('leaves no Postgres behind when it is stopped in the middle of its start', async () => {
    const app = new SpawnedApp('main.js', { env });
    await eventually(() => processesMentioning(`-D ${dataDir}`).length > 0, { label: 'its Postgres is starting' });
    expect(await app.kill('SIGTERM')).toEqual({ code: 0, signal: null });
    expect(processesMentioning(dataDir)).toEqual([]);
  });
});

import { jest } from '@jest/globals';
import { SIMULATED_ACCOUNT } from '../../../src/demo/development.js';
import { killAllSpawned, productionEnvironment, SpawnedApp } from '../../support/spawned-app.js';

/** Nothing listens there: a boot that gets past its environment fails in another way. */
const DATABASE_URL = 'postgres://nmc:hunter2-secret@127.0.0.1:1/nmc';

// Whole processes start and end here, some of them with a database server of their own.
jest.setTimeout(60_000);

let complete: Record<string, string>;
beforeAll(async () => {
  complete = await productionEnvironment(DATABASE_URL, { baseUrl: 'http://127.0.0.1:1' });
});
afterAll(() => killAllSpawned());

/** The variables of the one message with which the boot ended. */
async function refused(env: Record<string, string>): Promise<{ names: string[]; message: string }> {
  const app = new SpawnedApp('main.js', { env });
  expect(await app.ended).toEqual({ code: 1, signal: null });
  expect(app.lines).toEqual([]);
  const [head, ...problems] = app.stderr.trimEnd().split('\n');
  expect(head).toBe('The environment is not usable:');
  return { names: problems.map((line) => /^ {2}- ([A-Z_]+): \S/.exec(line)?.[1] ?? line), message: app.stderr };
}

describe('in production the boot stops with one message', () => {
  it('names every variable that is missing', async () => {
    const { names } = await refused({ NODE_ENV: 'production' });
    expect(names.sort()).toEqual([
      'DATABASE_URL',
      'METRICS_PASSWORD',
      'METRICS_USERNAME',
      'OPS_PASSWORD',
      'OPS_USERNAME',
      'PUBLIC_BASE_URL',
      'TWILIO_ACCOUNT_SID',
      'TWILIO_AUTH_TOKEN',
    ]);
  });

  it.each([
    ['alone', 'metrics', 'metrics'],
    ['in a rotation', 'scraper,metrics', 'a-good-one,metrics'],
  ])('names the passwords left at the development default, %s', async (_case, username, password) => {
    const { names } = await refused({
      ...complete,
      OPS_PASSWORD: 'ops',
      METRICS_USERNAME: username,
      METRICS_PASSWORD: password,
    });
    expect(names.sort()).toEqual(['METRICS_PASSWORD', 'OPS_PASSWORD']);
  });

  it('names every malformed variable, and repeats no value', async () => {
    const malformed = {
      ROLE: 'everything',
      PORT: '70001',
      PUBLIC_BASE_URL: 'ftp://files.example.com',
      DATABASE_URL: 'mysql://root:toor@db/nmc',
      DB_POOL_MAX: 'dozens',
      LOG_LEVEL: 'chatty',
      METRICS_PASSWORD: 'only-one-of-two',
      METRICS_USERNAME: 'left,right',
      METRICS_ALLOW_IPS: '10.0.0.0/99',
      TWILIO_ACCOUNT_SID: 'AC-not-hexadecimal',
      TWILIO_API_BASE_URL: 'api-without-scheme',
      CREDENTIALS_KEY: 'dG9vIHNob3J0',
      OUTBOX_POLL_MS: '-5',
      PAUSE_OUTBOUND_SMS: 'perhaps',
      LOG_BODY_PREVIEW: 'sometimes',
      LOG_UNMASKED_UNTIL: '2099-01-01T00:00:00Z',
      OTEL_EXPORTER_OTLP_ENDPOINT: 'collector-without-scheme:4317',
      OTEL_EXPORTER_OTLP_PROTOCOL: 'grpc',
      OTEL_TRACES_SAMPLER_ARG: 'a-tenth',
    };
    const { names, message } = await refused({ ...complete, ...malformed });
    const { METRICS_USERNAME: _valid, ...wrong } = malformed;
    expect(names.sort()).toEqual(Object.keys(wrong).sort());
    for (const value of [...Object.values(malformed), ...Object.values(complete), SIMULATED_ACCOUNT.authToken]) {
      // `production` is also a word of the rule for NODE_ENV.
      if (value !== 'production') expect(message).not.toContain(value);
    }
  });

  it('says what to do about OTLP over gRPC instead of exporting nothing', async () => {
    const otlp = { OTEL_EXPORTER_OTLP_ENDPOINT: 'http://127.0.0.1:4317', OTEL_EXPORTER_OTLP_PROTOCOL: 'grpc' };
    const { names, message } = await refused({ ...complete, ...otlp });
    expect(names).toEqual(['OTEL_EXPORTER_OTLP_PROTOCOL']);
    expect(message).toContain('must be http/protobuf or http/json; a collector takes them on port 4318');
  });

  it('wants a directory for the unmasked log that it can write to', async () => {
    const until = new Date(Date.now() + 3_600_000).toISOString();
    const { names } = await refused({ ...complete, LOG_UNMASKED_UNTIL: until, DATA_DIR: '/dev/null/nowhere' });
    expect(names).toEqual(['LOG_UNMASKED_UNTIL']);
  });

  it('stops before it touches anything when the database cannot be reached, and shows no password', async () => {
    const app = new SpawnedApp('main.js', { env: complete });
    expect(await app.ended).toEqual({ code: 1, signal: null });
    expect(app.stderr).toContain('ECONNREFUSED');
    expect(app.stderr + app.lines.join('\n')).not.toContain('hunter2-secret');
  });

  it('migrates nothing without a database', async () => {
    const app = new SpawnedApp('migrate.js', { env: { NODE_ENV: 'production' } });
    expect(await app.ended).toEqual({ code: 1, signal: null });
    expect(app.stderr).toMatch(/DATABASE_URL: is required/);
  });
});

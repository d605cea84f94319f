import { jest } from '@jest/globals';
import { cloneDatabase, type TestDatabase } from '../../support/database.js';
import { basic, killAllSpawned, productionEnvironment, SCRAPER, SpawnedApp } from '../../support/spawned-app.js';

const [OLD, NEW] = [SCRAPER, { username: 'scraper-2', password: 'the-next-quarter' }];

// Whole processes start and end here, some of them with a database server of their own.
jest.setTimeout(60_000);

let database: TestDatabase;
let baseUrl: string;
beforeAll(async () => {
  database = await cloneDatabase();
});
afterAll(() => database.drop());

async function start(env: Record<string, string>): Promise<void> {
  const complete = await productionEnvironment(database.url, { baseUrl: 'http://127.0.0.1:1' });
  baseUrl = complete.PUBLIC_BASE_URL;
  await new SpawnedApp('main.js', { env: { ...complete, ...env } }).ready(baseUrl);
}

const scrape = (headers: Record<string, string>, query = '') => fetch(`${baseUrl}/metrics${query}`, { headers });

describe('the scrape in production', () => {
  beforeAll(() =>
    start({
      METRICS_USERNAME: `${OLD.username},${NEW.username}`,
      METRICS_PASSWORD: `${OLD.password},${NEW.password}`,
      METRICS_ALLOW_IPS: '10.0.0.0/8,127.0.0.0/8',
    }),
  );
  afterAll(() => killAllSpawned());

  it.each([
    ['no credentials', {}],
    ['a wrong password', basic({ ...OLD, password: 'guess' })],
    ['a wrong user', basic({ ...OLD, username: 'guest' })],
    ['the password of the other pair', basic({ ...OLD, password: NEW.password })],
    ['the development default', basic({ username: 'metrics', password: 'metrics' })],
    ['an empty pair', basic({ username: '', password: '' })],
    ['another scheme', { authorization: 'Bearer scraper' }],
  ])('is refused with %s, and asks for some', async (_case, headers: Record<string, string>) => {
    const response = await scrape(headers);
    expect(response.status).toBe(401);
    expect(response.headers.get('www-authenticate')).toMatch(/^Basic realm="/);
    expect(await response.text()).not.toContain('# TYPE');
  });

  it('opens for both pairs of a rotation', async () => {
    for (const pair of [OLD, NEW]) {
      const response = await scrape(basic(pair));
      expect(response.status).toBe(200);
      expect(response.headers.get('content-type')).toMatch(/^text\/plain/);
      expect(await response.text()).toContain('# TYPE http_request_duration_ms histogram');
    }
  });

  it('splits into what each process counts and what every replica computes alike', async () => {
    const names = async (query: string) =>
      [...(await (await scrape(basic(OLD), query)).text()).matchAll(/^# TYPE (\S+) /gm)].map(([, name]) =>
        String(name),
      );
    const [all, ours, shared] = [await names(''), await names('?scope=process'), await names('?scope=shared')];
    expect([...ours, ...shared].sort()).toEqual(all.sort());
    expect(shared).toEqual(expect.arrayContaining(['slo_first_sms_p95_seconds', 'outbox_dead_letters']));
    expect(ours).toEqual(expect.arrayContaining(['http_request_duration_ms', 'db_connections_in_use']));
  });
});

describe('the scrape from an address that is not on the list', () => {
  beforeAll(() => start({ METRICS_ALLOW_IPS: '10.0.0.0/8,192.0.2.7' }));
  afterAll(() => killAllSpawned());

  it('is forbidden, with the right credentials as well', async () => {
    expect((await scrape(basic(SCRAPER))).status).toBe(403);
    expect((await scrape({})).status).toBe(403);
    expect((await fetch(`${baseUrl}/health/ready`)).status).toBe(200);
  });
});

import { jest } from '@jest/globals';
import { cloneDatabase, type TestDatabase } from '../../support/database.js';
import { killAllSpawned, productionEnvironment, SpawnedApp } from '../../support/spawned-app.js';

jest.setTimeout(60_000);

/** A bug that nobody foresaw, set off from outside. */
const BUG = `process.once('SIGUSR2', () => { throw new Error('no route to +14155550132 for jane@example.com') })`;

describe('what nobody catches', () => {
  let database: TestDatabase;
  beforeAll(async () => {
    database = await cloneDatabase();
  });
  afterAll(async () => {
    await killAllSpawned();
    await database.drop();
  });

  it('ends the process with one redacted line of the log, and nothing beside it', async () => {
    const env = await productionEnvironment(database.url, { baseUrl: 'http://127.0.0.1:1' });
    const options = `--import data:text/javascript,${encodeURIComponent(BUG)}`;
    const app = new SpawnedApp('main.js', { env: { ...env, NODE_OPTIONS: options } });
    await app.ready(env.PUBLIC_BASE_URL);
    process.kill(app.pid, 'SIGUSR2');
    expect(await app.ended).toEqual({ code: 1, signal: null });
    expect(JSON.parse(app.lines.at(-1) ?? '')).toMatchObject({
      level: 'fatal',
      message: 'uncaught exception',
      error_code: 'Error',
      error_message: 'no route to ***0132 for ***@***',
    });
    expect(app.stderr).toBe('');
    expect(app.lines.join('\n')).not.toMatch(/4155550132|jane/);
  });
});

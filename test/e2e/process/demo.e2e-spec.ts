import { execFileSync } from 'node:child_process';
import { chmod, chown, mkdir, mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { jest } from '@jest/globals';
import { removeEmbeddedPostgres } from '../../../src/demo/embedded-postgres.js';
import { processesMentioning } from '../../integration/demo/fixtures/postgres-app.js';
import { eventually } from '../../support/eventually.js';
import { killAllSpawned, SpawnedApp } from '../../support/spawned-app.js';

const REPOSITORY = fileURLToPath(new URL('../../../', import.meta.url));
const NOBODY = { uid: 65534, gid: 65534 };
const isRoot = process.getuid?.() === 0;
const CALL = /^ +\d+ +\*\*\*\d{4} +\d+ ms ok +\d+ ms +\d+ ms +\d+ ms +\d+ ms +[0-9a-f-]{36}$/;

// Whole processes start and end here, some of them with a database server of their own.
jest.setTimeout(60_000);

let directory: string;
const folders: string[] = [];
beforeAll(async () => {
  // As root the server runs as another user, who must be able to enter.
  directory = await mkdtemp(join(isRoot ? '/var/tmp' : tmpdir(), 'nmc-demo-'));
  await chmod(directory, 0o755);
});
afterEach(async () => {
  await killAllSpawned();
  for (const folder of folders.splice(0)) await removeEmbeddedPostgres(folder);
});
afterAll(() => rm(directory, { recursive: true, force: true }));

async function freshFolder(name: string): Promise<string> {
  const folder = join(directory, name);
  await mkdir(folder);
  folders.push(folder);
  return folder;
}

function demo(
  dataDir: string,
  args: readonly string[],
  more: Partial<ConstructorParameters<typeof SpawnedApp>[1]> = {},
) {
  return new SpawnedApp('demo/demo.js', { ...more, args, env: { DATA_DIR: dataDir, ...more.env } });
}

/** Nothing that the demo has started lives on: neither its process group, within a moment, nor its database server. */
async function expectNothingLeft(app: SpawnedApp, dataDir: string): Promise<void> {
  await eventually(() => expect(() => process.kill(-app.pid, 0)).toThrow('ESRCH'), {
    deadlineMs: 2_000,
    label: 'the process group has ended',
  });
  expect(processesMentioning(dataDir)).toEqual([]);
}

describe('the demo', () => {
  it('shows three calls with the stages of each, and ends', async () => {
    const folder = await freshFolder('three');
    const app = demo(folder, ['--calls', '3', '--exit']);
    expect(await app.ended).toEqual({ code: 0, signal: null });
    expect(app.lines.filter((line) => CALL.test(line))).toHaveLength(3);
    expect(app.lines.at(-1)).toMatch(/^3 calls, 3 answered, P95 \d+ ms/);
    expect(app.stderr).toBe('');
    await expectNothingLeft(app, folder);
  });

  it('runs twice at once in two folders', async () => {
    const [left, right] = [await freshFolder('left'), await freshFolder('right')];
    const demos = [demo(left, ['--calls', '2', '--exit']), demo(right, ['--calls', '2', '--exit'])];
    const endings = await Promise.all(demos.map(async (app) => ({ ...(await app.ended), stderr: app.stderr })));
    expect(endings).toEqual([
      { code: 0, signal: null, stderr: '' },
      { code: 0, signal: null, stderr: '' },
    ]);
    for (const app of demos) expect(app.lines.filter((line) => CALL.test(line))).toHaveLength(2);
    const addresses = demos.map((app) => app.lines.find((line) => line.includes('  app ')));
    expect(new Set(addresses).size).toBe(2);
    expect(processesMentioning(directory)).toEqual([]);
  });

  it.each([
    ['once calls come in', /^ +1 \*\*\*/, 1],
    ['twice, as npm sends it on', /^ +1 \*\*\*/, 2],
    ['the moment it listens', /Ctrl-C ends everything/, 1],
  ])('leaves nothing behind after Ctrl-C, %s', async (name, sign, times) => {
    const folder = await freshFolder(`interrupted-${name.replaceAll(/\W/g, '-')}`);
    const app = demo(folder, []);
    await app.line(sign);
    expect(processesMentioning(`-D ${folder}`)).toHaveLength(1);
    for (let n = 0; n < times; n += 1) app.signal('SIGINT');
    expect(await app.ended).toEqual({ code: 0, signal: null });
    expect(app.stderr).toBe('');
    await expectNothingLeft(app, folder);
  });

  it('leaves nothing behind after Ctrl-C in the middle of its start', async () => {
    const folder = await freshFolder('early');
    const app = demo(folder, []);
    await eventually(() => processesMentioning(folder).length > 0, {
      deadlineMs: 20_000,
      label: 'the database is being made',
    });
    app.signal('SIGINT');
    expect(await app.ended).toEqual({ code: 0, signal: null });
    expect(app.lines).toEqual([]);
    await expectNothingLeft(app, folder);
  });

  it('works again in the folder of one that was killed, and clears up after it', async () => {
    const folder = await freshFolder('killed');
    const killed = demo(folder, []);
    await killed.line(/^ +1 \*\*\*/);
    const [server] = processesMentioning(`-D ${folder}`);
    expect(await killed.kill('SIGKILL')).toEqual({ code: null, signal: 'SIGKILL' });
    expect(processesMentioning(`-D ${folder}`)).toEqual([server]);

    const next = demo(folder, ['--calls', '2', '--exit']);
    expect(await next.ended).toEqual({ code: 0, signal: null });
    expect(next.lines.filter((line) => CALL.test(line))).toHaveLength(2);
    await expectNothingLeft(next, folder);
  });
});

describe('what the demo refuses', () => {
  it('names the port that was asked for and is taken, and what to do', async () => {
    const occupant = createServer();
    await new Promise<void>((done) => occupant.listen(0, '127.0.0.1', done));
    const { port } = occupant.address() as { port: number };
    const folder = await freshFolder('taken');
    const app = demo(folder, ['--calls', '1', '--exit'], { env: { PORT: String(port) } });
    expect(await app.ended).toEqual({ code: 1, signal: null });
    expect(app.stderr).toMatch(new RegExp(`PORT: ${port} is taken .*leave it out, or choose another`));
    await expectNothingLeft(app, folder);
    await new Promise((done) => occupant.close(done));
  });

  it.each([
    [['--calls', 'abc'], /^--calls must be a whole number of at least 1/],
    [['--calls', '0', '--exit'], /^--calls must be a whole number/],
    [['--exit'], /^--exit needs --calls N/],
    [['--cals', '3'], /'--cals'.*the options are --calls N and --exit/],
  ])('says what is wrong with %j', async (args, message) => {
    const app = demo(directory, args);
    expect(await app.ended).toEqual({ code: 1, signal: null });
    expect(app.stderr).toMatch(message);
    expect(app.stderr).not.toContain('    at ');
  });

  it('starts nothing that outlives it when its environment is wrong', async () => {
    const folder = await freshFolder('wrong');
    const app = demo(folder, ['--calls', '1', '--exit'], { env: { LOG_LEVEL: 'chatty' } });
    expect(await app.ended).toEqual({ code: 1, signal: null });
    expect(app.stderr).toContain('LOG_LEVEL: ');
    await expectNothingLeft(app, folder);
  });
});

if (isRoot && canRead(NOBODY)) {
  describe('as an ordinary user', () => {
    it('runs without any right to where it is installed but to read', async () => {
      const folder = await freshFolder('ordinary');
      await chown(folder, NOBODY.uid, NOBODY.gid);
      const app = demo(folder, ['--calls', '2', '--exit'], { user: NOBODY });
      expect(await app.ended).toEqual({ code: 0, signal: null });
      expect(app.lines.filter((line) => CALL.test(line))).toHaveLength(2);
      await expectNothingLeft(app, folder);
    });
  });
}

/** Whether the user can use this installation at all: a clone in /root is closed to everybody else. */
function canRead(user: { uid: number; gid: number }): boolean {
  try {
    const look = 'test -r dist/main.js && test -x "$1" && cd node_modules/pg';
    execFileSync('/bin/sh', ['-c', `cd "$2" && ${look}`, 'sh', process.execPath, REPOSITORY], { ...user, cwd: '/' });
    return true;
  } catch {
    return false;
  }
}

import { spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { chmod, chown, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client } from 'pg';
import {
  type EmbeddedPostgres,
  type EmbeddedPostgresOptions,
  removeEmbeddedPostgres,
  startEmbeddedPostgres,
} from '../../../src/demo/embedded-postgres.js';
import { eventually } from '../../support/eventually.js';
import {
  libraryLinks,
  makeClone,
  nothingRuns,
  processesMentioning,
  type RunningApp,
  startApp,
} from './fixtures/postgres-app.js';

const NOBODY = { uid: 65534, gid: 65534 };
const isRoot = process.getuid?.() === 0;
const settings = { fsync: 'off' };

let directory: string;
let clone: string;
let dataDir: string;
const apps: RunningApp[] = [];
const servers: EmbeddedPostgres[] = [];

beforeAll(async () => {
  // Everything here is about the one from npm.
  delete process.env['POSTGRES_BIN'];
  // Root's TMPDIR may be closed to others, and only one test is about that.
  directory = await mkdtemp(join(isRoot ? '/var/tmp' : tmpdir(), 'nmc-embedded-'));
  await chmod(directory, 0o755);
  clone = await makeClone(join(directory, 'clone'), 'shared');
  dataDir = join(directory, 'data');
});

afterEach(async () => {
  for (const app of apps.splice(0)) await app.end();
  for (const server of servers.splice(0)) await server.stop();
});

afterAll(async () => {
  await nothingRuns(directory);
  await rm(directory, { recursive: true, force: true });
});

async function start(where = dataDir, options: Partial<EmbeddedPostgresOptions> = {}): Promise<EmbeddedPostgres> {
  const server = await startEmbeddedPostgres({ dataDir: where, settings, ...options });
  servers.push(server);
  return server;
}

function launch(...args: Parameters<typeof startApp>): RunningApp {
  const app = startApp(...args);
  apps.push(app);
  return app;
}

async function query<T>(server: EmbeddedPostgres, sql: string): Promise<T[]> {
  const client = new Client({ connectionString: server.url });
  client.on('error', () => undefined);
  await client.connect();
  try {
    return (await client.query(sql)).rows as T[];
  } finally {
    await client.end();
  }
}

function postmasterPid(where = dataDir): number {
  return Number(readFileSync(join(where, 'postgres', 'postmaster.pid'), 'utf8').split('\n')[0]);
}

describe('one process', () => {
  it('starts in an empty directory and leaves no process behind', async () => {
    const server = await start();
    expect(server.attached).toBe(false);
    expect(new URL(server.url).port).toBe(String(server.port));
    expect(await query(server, 'SELECT current_database() AS name')).toEqual([{ name: 'nevermisscall' }]);
    await query(server, 'CREATE TABLE kept AS SELECT 1 AS answer');
    await server.stop();
    await server.stop();
    expect(processesMentioning(dataDir)).toEqual([]);
    expect(await readdir(join(dataDir, 'users'))).toEqual([]);
    expect(existsSync(join(dataDir, 'postgres.lock'))).toBe(false);
  });

  it('keeps the data, and takes settings and the name of the database', async () => {
    const first = await start(dataDir, { settings: { ...settings, work_mem: '7MB' } });
    expect(await query(first, 'SELECT answer FROM kept')).toEqual([{ answer: 1 }]);
    expect(await query(first, 'SHOW work_mem')).toEqual([{ work_mem: '7MB' }]);
    expect(await query(first, 'SHOW max_connections')).toEqual([{ max_connections: '200' }]);
    const second = await start(dataDir, { database: 'an "odd" name' });
    expect(await query(second, 'SELECT current_database() AS name')).toEqual([{ name: 'an "odd" name' }]);
    await first.stop();
    expect(await query(second, 'SELECT 1 AS one')).toEqual([{ one: 1 }]);
    await second.stop();
    expect(processesMentioning(dataDir)).toEqual([]);
  });

  it('listens on 127.0.0.1 alone, and keeps its password to itself', async () => {
    const notices: string[] = [];
    const server = await start(dataDir, { onNotice: (line) => notices.push(line) });
    expect(await query(server, 'SHOW listen_addresses')).toEqual([{ listen_addresses: '127.0.0.1' }]);
    expect(await query(server, 'SHOW unix_socket_directories')).toEqual([{ unix_socket_directories: '' }]);
    const file = join(dataDir, 'postgres.password');
    const password = await readFile(file, 'utf8');
    expect((await stat(file)).mode & 0o777).toBe(0o600);
    expect(new URL(server.url).password).toBe(password);
    const wrong = { ...server, url: server.url.replace(password, 'wrong') };
    await expect(query(wrong, 'SELECT 1')).rejects.toThrow('password authentication failed');
    expect(await readFile(join(dataDir, 'postgres.log'), 'utf8')).not.toContain(password);
    expect(processesMentioning(password)).toEqual([]);
    expect(notices.join()).not.toContain(password);
    await server.stop();
  });

  it("has a process group of its own, which the terminal's Ctrl-C does not reach", async () => {
    const server = await start();
    const pid = postmasterPid();
    // Only the leader of a group can be addressed as one.
    expect(process.kill(-pid, 0)).toBe(true);
    await server.stop();
  });

  it('does not hand its environment to the server', async () => {
    process.env['NMC_TEST_SECRET'] = 'not for the server';
    const server = await start();
    delete process.env['NMC_TEST_SECRET'];
    const environment = `/proc/${postmasterPid()}/environ`;
    if (existsSync(environment)) expect(readFileSync(environment, 'utf8')).not.toContain('NMC_TEST_SECRET');
    await server.stop();
  });

  it('is removed with its data, but not while it is used', async () => {
    const where = join(directory, 'removed');
    const server = await start(where);
    await expect(removeEmbeddedPostgres(where)).rejects.toThrow('1 running processes use the Postgres');
    await server.stop();
    await removeEmbeddedPostgres(where);
    expect(await readdir(where)).toEqual([]);
  });
});

describe('several processes', () => {
  it('attaches to the server of an app that was killed, and then leaves nothing behind', async () => {
    const killed = startApp(clone, dataDir);
    const { port, error } = await killed.report;
    expect(error).toBeUndefined();
    await killed.kill();
    expect(processesMentioning(`-D ${dataDir}`)).toEqual([postmasterPid()]);
    const server = await start();
    expect(server).toMatchObject({ attached: true, port });
    expect(await query(server, 'SELECT answer FROM kept')).toEqual([{ answer: 1 }]);
    await server.stop();
    expect(processesMentioning(dataDir)).toEqual([]);
  });

  it('shares one server between processes that start at once, until the last one ends', async () => {
    const where = join(directory, 'shared');
    const [first, second] = [launch(clone, where), launch(clone, where)];
    const reports = await Promise.all([first.report, second.report]);
    expect(reports.map((report) => report.error)).toEqual([undefined, undefined]);
    expect(reports.map((report) => report.attached).sort()).toEqual([false, true]);
    expect(reports[0]?.port).toBe(reports[1]?.port);
    const pid = postmasterPid(where);
    await first.end();
    expect(processesMentioning(`-D ${where}`)).toEqual([pid]);
    await second.end();
    expect(processesMentioning(where)).toEqual([]);
  });

  it('keeps two folders apart', async () => {
    const [here, there] = await Promise.all([start(), start(join(directory, 'other'))]);
    expect([here.attached, there.attached]).toEqual([false, false]);
    expect(here.port).not.toBe(there.port);
    await Promise.all([here.stop(), there.stop()]);
    expect(processesMentioning(directory)).toEqual([]);
  });
});

describe('what an accident left', () => {
  it('starts anew after the server itself was killed', async () => {
    const before = await start();
    const pid = postmasterPid();
    process.kill(pid, 'SIGKILL');
    const after = await start();
    expect(after.attached).toBe(false);
    expect(await query(after, 'SELECT answer FROM kept')).toEqual([{ answer: 1 }]);
    await after.stop();
    await before.stop();
    expect(processesMentioning(dataDir)).toEqual([]);
  });

  it('starts anew when the pid in postmaster.pid belongs to another program by now', async () => {
    const { uid, gid } = await stat(join(dataDir, 'postgres'));
    const stranger = spawn('cat', [], { stdio: 'pipe', ...(isRoot && { uid, gid }) });
    const lines = [stranger.pid, join(dataDir, 'postgres'), 1_700_000_000, 5432, '', '127.0.0.1', '1 1', 'ready   '];
    await writeFile(join(dataDir, 'postgres', 'postmaster.pid'), `${lines.join('\n')}\n`);
    const server = await start();
    expect(server.attached).toBe(false);
    await server.stop();
    expect(stranger.exitCode).toBeNull();
    stranger.stdin.end();
    await eventually(() => stranger.exitCode !== null, { label: 'the stranger ended' });
  });

  it('starts over, past the lock of a process that was killed in the middle of initdb', async () => {
    const where = join(directory, 'half');
    const unfinished = async () => (await readdir(where)).filter((name) => name.startsWith('postgres.unfinished-'));
    const app = startApp(clone, where);
    app.report.catch(() => undefined);
    await eventually(
      async () => {
        const [name] = await unfinished();
        return name !== undefined && existsSync(join(where, name, 'data', 'PG_VERSION'));
      },
      { label: 'initdb is at work' },
    );
    await app.kill();
    expect(existsSync(join(where, 'postgres.lock'))).toBe(true);
    expect(existsSync(join(where, 'postgres'))).toBe(false);
    const server = await start(where);
    expect(server.attached).toBe(false);
    expect(await query(server, 'SELECT 1 AS one')).toEqual([{ one: 1 }]);
    await server.stop();
    await nothingRuns(where);
  });

  it('sets aside a folder that is not a whole cluster', async () => {
    const where = join(directory, 'partial');
    await mkdir(join(where, 'postgres'), { recursive: true });
    await writeFile(join(where, 'postgres', 'PG_VERSION'), '18\n');
    const notices: string[] = [];
    const server = await start(where, { onNotice: (line) => notices.push(line) });
    await server.stop();
    expect(notices).toContainEqual(expect.stringContaining('was not a complete Postgres cluster'));
    expect(await readdir(where)).toContainEqual(expect.stringMatching(/^postgres\.incomplete-/));
  });
});

describe('what it refuses', () => {
  it('names the directory to remove when another version of Postgres made it', async () => {
    const file = join(dataDir, 'postgres', 'PG_VERSION');
    const version = await readFile(file, 'utf8');
    await writeFile(file, '16\n');
    await expect(start()).rejects.toThrow(`made by Postgres 16, and this is Postgres 18: remove ${dataDir}/postgres`);
    await writeFile(file, version);
  });

  it('names the directory to remove when its password is gone', async () => {
    const file = join(dataDir, 'postgres.password');
    const password = await readFile(file, 'utf8');
    await rm(file);
    await expect(start()).rejects.toThrow(`cannot be opened: remove ${dataDir}/postgres`);
    await writeFile(file, password, { mode: 0o600 });
  });

  it('does not serve a server that it cannot open', async () => {
    const file = join(dataDir, 'postgres.password');
    const password = await readFile(file, 'utf8');
    await writeFile(file, 'wrong');
    await expect(start()).rejects.toThrow(/does not serve: password authentication failed.*its log is .*postgres\.log/);
    await writeFile(file, password);
    expect(processesMentioning(dataDir)).toEqual([]);
  });

  it('tells why the server does not start, and where its log is', async () => {
    const impossible = start(dataDir, { settings: { shared_buffers: 'plenty' } });
    await expect(impossible).rejects.toThrow(
      /invalid value for parameter "shared_buffers".*its log is .*postgres\.log/,
    );
    expect(await readdir(join(dataDir, 'users'))).toEqual([]);
  });

  it('runs the Postgres that POSTGRES_BIN names, and says when there is none', async () => {
    const [native = ''] = await libraryLinks(await makeClone(join(directory, 'installed'), 'own copy'));
    const bin = join(native, '..', '..', 'bin');
    process.env['POSTGRES_BIN'] = bin;
    try {
      await start(join(directory, 'with-installed'));
      expect(processesMentioning(`${bin}/postgres`)).not.toEqual([]);
      process.env['POSTGRES_BIN'] = '/nowhere';
      await expect(start(join(directory, 'with-none'))).rejects.toThrow(
        /^POSTGRES_BIN=\/nowhere holds no Postgres that runs here \(.*ENOENT\)$/,
      );
    } finally {
      delete process.env['POSTGRES_BIN'];
    }
  });

  it('asks for DATABASE_URL where there are no binaries for the platform', async () => {
    const bare = await makeClone(join(directory, 'bare'), 'without embedded-postgres');
    const report = await launch(bare, join(directory, 'bare-data')).report;
    expect(report.error).toContain('set DATABASE_URL');
  });
});

describe('users and permissions', () => {
  it('runs for an ordinary user, from an install without scripts', async () => {
    const own = await makeClone(join(directory, 'ordinary'), 'own copy without install scripts');
    if (isRoot) await chownTree(own, NOBODY);
    const where = join(own, '.data');
    const app = launch(own, where, isRoot ? NOBODY : undefined);
    expect(await app.report).toMatchObject({ attached: false, notices: [] });
    for (const link of await libraryLinks(own)) expect(existsSync(link)).toBe(true);
    expect((await stat(join(where, 'postgres'))).uid).toBe(isRoot ? NOBODY.uid : process.getuid?.());
    await app.end();
    expect(processesMentioning(`-D ${where}`)).toEqual([]);
  });

  if (isRoot) {
    it('runs as root from a directory that no other user can enter, and leaves its mode alone', async () => {
      const locked = await makeClone(join(directory, 'locked'), 'own copy');
      await chmod(locked, 0o700);
      const where = join(locked, '.data');
      const copies = async () =>
        (await readdir('/var/tmp')).filter((name) => name.startsWith('nevermisscall-postgres-'));
      const copiesBefore = await copies();

      const app = launch(locked, where);
      const report = await app.report;
      expect(report.error).toBeUndefined();
      expect(report.notices).toEqual([expect.stringMatching(/its data is in .*, its programs are copied to /)]);
      expect((await stat(locked)).mode & 0o777).toBe(0o700);
      const cluster = /its data is in (\S+)/.exec(report.notices[0] ?? '')?.[1] ?? '';
      expect((await stat(cluster)).uid).not.toBe(0);

      await app.kill();
      const again = await start(where);
      expect(again).toMatchObject({ attached: true, port: report.port });
      await again.stop();
      expect(processesMentioning(cluster)).toEqual([]);

      // Whoever removes the data directory wants a new database, also where the data is elsewhere.
      await rm(where, { recursive: true });
      const anew = await start(where, { onNotice: () => undefined });
      expect(await query(anew, "SELECT 1 FROM pg_database WHERE datname = 'nevermisscall'")).toHaveLength(1);
      await anew.stop();
      await removeEmbeddedPostgres(where);
      expect(existsSync(cluster)).toBe(false);
      for (const name of await copies()) {
        if (!copiesBefore.includes(name)) await rm(join('/var/tmp', name), { recursive: true });
      }
    });
  }
});

async function chownTree(path: string, { uid, gid }: { uid: number; gid: number }): Promise<void> {
  const entries = await readdir(path, { withFileTypes: true });
  for (const entry of entries) {
    if (entry.isDirectory()) await chownTree(join(path, entry.name), { uid, gid });
  }
  await chown(path, uid, gid);
}

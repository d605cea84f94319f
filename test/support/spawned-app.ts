import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import pg from 'pg';
import { SIMULATED_ACCOUNT } from '../../src/demo/development.js';
import type { TwilioSimulator } from '../../src/demo/simulators/twilio/twilio-simulator.js';
import type { TestDatabase } from './database.js';
import { eventually } from './eventually.js';
import { freePort } from './free-port.js';

const DIST = fileURLToPath(new URL('../../dist/', import.meta.url));
const PRELOAD = ['--import', `${DIST}instrumentation.js`];

/** The passwords of a production environment in the tests. */
export const OPS = { username: 'oncall', password: 'correct-horse-battery' } as const;
export const SCRAPER = { username: 'scraper', password: 'staple-tractor-lemon' } as const;

export interface SpawnOptions {
  /** The whole environment, but for PATH. */
  env?: Record<string, string>;
  args?: readonly string[];
  /** Modules loaded before the program's own. */
  preload?: readonly string[];
  /** The operating system user to run as, when that is another one. */
  user?: { uid: number; gid: number };
}

export interface Ending {
  code: number | null;
  signal: NodeJS.Signals | null;
}

const running = new Set<SpawnedApp>();

/** Kills a process group when this process ends, even outright: then the pipe closes and `read` returns. */
export function killGroupWithUs(pid: number | undefined): ChildProcess {
  return spawn('/bin/sh', ['-c', `read -r _; kill -9 -${pid}`], {
    detached: true,
    stdio: ['pipe', 'ignore', 'ignore'],
  });
}

/** Ends with SIGKILL whatever a test has started and not ended: for `afterEach`. */
export async function killAllSpawned(): Promise<void> {
  await Promise.all([...running].map((app) => app.kill('SIGKILL')));
}

/** A built program as a process of its own, in its own process group, with what it prints. */
export class SpawnedApp {
  /** Complete lines of standard output. */
  readonly lines: string[] = [];
  stderr = '';
  readonly ended: Promise<Ending>;
  private ending: Ending | undefined;
  private readonly child: ChildProcess;
  private readonly watchdog: ChildProcess;

  /** @param script below dist/; `main.js` and the demo run with the instrumentation preloaded, as in production */
  constructor(script: 'main.js' | 'migrate.js' | 'demo/demo.js', options: SpawnOptions = {}) {
    const preload = (options.preload ?? []).flatMap((module) => ['--import', module]);
    if (script !== 'migrate.js') preload.push(...PRELOAD);
    this.child = spawn(process.execPath, [...preload, `${DIST}${script}`, ...(options.args ?? [])], {
      cwd: '/',
      env: { PATH: process.env['PATH'] ?? '', ...options.env },
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
      ...options.user,
    });
    this.watchdog = killGroupWithUs(this.child.pid);
    this.collect();
    running.add(this);
    this.ended = once(this.child, 'close').then(([code, signal]) => {
      this.watchdog.kill('SIGKILL');
      running.delete(this);
      this.ending = { code, signal };
      return this.ending;
    });
  }

  get pid(): number {
    return this.child.pid ?? 0;
  }

  /** How it ended; undefined while it runs. */
  get exit(): Ending | undefined {
    return this.ending;
  }

  /** Waits until it is ready to take calls; fails at once when it has ended instead. */
  async ready(baseUrl: string, deadlineMs = 20_000): Promise<void> {
    let ended: Ending | undefined;
    await eventually(
      async (signal) => {
        ended = this.ending;
        if (ended) return true;
        return (await fetch(`${baseUrl}/health/ready`, { signal })).status === 200;
      },
      { deadlineMs, label: 'the process is ready' },
    );
    if (ended) throw new Error(`it ended with ${ended.signal ?? ended.code} before it was ready: ${this.stderr}`);
  }

  /** A line of standard output, which may be there already. */
  line(pattern: RegExp, deadlineMs = 20_000): Promise<string> {
    return eventually(() => this.lines.find((line) => pattern.test(line)) ?? null, {
      deadlineMs,
      label: `a line like ${pattern}; standard error: ${this.stderr}`,
    });
  }

  /** Signals the whole group, as a terminal does, and waits for the end. */
  async kill(signal: NodeJS.Signals): Promise<Ending> {
    this.signal(signal);
    return this.ended;
  }

  signal(signal: NodeJS.Signals): void {
    if (this.ending === undefined) process.kill(-this.pid, signal);
  }

  /** The log lines of a unit of work. */
  journey(correlationId: string): Record<string, unknown>[] {
    return this.lines
      .map((line) => JSON.parse(line) as Record<string, unknown>)
      .filter((line) => line['correlation_id'] === correlationId);
  }

  private collect(): void {
    let rest = '';
    this.child.stdout?.setEncoding('utf8').on('data', (chunk: string) => {
      const lines = (rest + chunk).split('\n');
      rest = lines.pop() ?? '';
      this.lines.push(...lines);
    });
    this.child.stderr?.setEncoding('utf8').on('data', (chunk: string) => {
      this.stderr += chunk;
    });
  }
}

/** A whole production environment, the provider simulated, on a free port of this machine. */
export async function productionEnvironment(
  databaseUrl: string,
  twilio: Pick<TwilioSimulator, 'baseUrl'>,
): Promise<Record<string, string> & { PUBLIC_BASE_URL: string }> {
  const port = await freePort();
  return {
    NODE_ENV: 'production',
    HOST: '127.0.0.1',
    PORT: String(port),
    PUBLIC_BASE_URL: `http://127.0.0.1:${port}`,
    DATABASE_URL: databaseUrl,
    OPS_USERNAME: OPS.username,
    OPS_PASSWORD: OPS.password,
    METRICS_USERNAME: SCRAPER.username,
    METRICS_PASSWORD: SCRAPER.password,
    TWILIO_ACCOUNT_SID: SIMULATED_ACCOUNT.accountSid,
    TWILIO_AUTH_TOKEN: SIMULATED_ACCOUNT.authToken,
    TWILIO_API_BASE_URL: twilio.baseUrl,
  };
}

export function basic({ username, password }: { username: string; password: string }): { authorization: string } {
  return { authorization: `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}` };
}

/** Onboards a tenant as an operator would; answers its id. */
export async function onboard(
  baseUrl: string,
  tenant: { numbers: string[] } & Record<string, unknown>,
  operator: { username: string; password: string } = OPS,
): Promise<string> {
  const response = await fetch(`${baseUrl}/ops/api/tenants`, {
    method: 'POST',
    headers: { ...basic(operator), 'content-type': 'application/json' },
    body: JSON.stringify({
      name: "Joe's Plumbing",
      time_zone: 'America/New_York',
      voice_mode: 'forward_target',
      a2p_status: 'approved',
      ...tenant,
    }),
  });
  const answer = (await response.json()) as { tenant_id?: string };
  if (!answer.tenant_id) throw new Error(`onboarding was answered ${response.status} ${JSON.stringify(answer)}`);
  return answer.tenant_id;
}

/** A database with nothing in it, as a new deployment finds it: not a copy of the template. */
export async function emptyDatabase(): Promise<TestDatabase> {
  const admin = process.env['TEST_POSTGRES_URL'];
  if (admin === undefined) throw new Error('TEST_POSTGRES_URL is not set: test/support/global-setup.mjs did not run');
  const name = `nmc_test_${randomBytes(8).toString('hex')}`;
  const run = async (sql: string) => {
    const client = new pg.Client({ connectionString: admin });
    client.on('error', () => undefined);
    await client.connect();
    await client.query(sql).finally(() => client.end());
  };
  await run(`CREATE DATABASE ${name} TEMPLATE template0`);
  const url = new URL(admin);
  url.pathname = `/${name}`;
  return { url: url.href, name, drop: () => run(`DROP DATABASE IF EXISTS ${name} WITH (FORCE)`) };
}

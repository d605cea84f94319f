import 'reflect-metadata';
import { mkdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import { pino } from 'pino';
import { createApp } from '../app.factory.js';
import { type Config, ConfigError, loadConfig } from '../infra/config/config.js';
import { Lifecycle } from '../infra/health/lifecycle.service.js';
import { Shutdown } from '../infra/health/shutdown.js';
import { DemoCaller } from './demo-caller.js';
import { DemoReport } from './demo-report.js';
import { holdPort, provideDevelopment } from './development.js';

const DEFAULT_PORT = 3000;
const PAUSE_BETWEEN_CALLS_MS = 3_000;

interface Options {
  calls: number;
  exit: boolean;
}

/** The command line is not usable; the message says why. */
class UsageError extends Error {}

function readOptions(): Options {
  const { values } = parse();
  const calls = values.calls === undefined ? Number.POSITIVE_INFINITY : Number(values.calls);
  if (values.calls !== undefined && (!Number.isInteger(calls) || calls < 1)) {
    throw new UsageError('--calls must be a whole number of at least 1, e.g. --calls 20');
  }
  if (values.exit && values.calls === undefined) throw new UsageError('--exit needs --calls N');
  return { calls, exit: values.exit };
}

function parse() {
  try {
    return parseArgs({ options: { calls: { type: 'string' }, exit: { type: 'boolean', default: false } } });
  } catch (error) {
    throw new UsageError(`${(error as Error).message}; the options are --calls N and --exit`);
  }
}

const shutdown = new Shutdown();

/** The whole app with simulated providers, and a missed call every few seconds. */
class Demo {
  private constructor(
    readonly report: DemoReport,
    private readonly caller: DemoCaller,
  ) {}

  static async start(): Promise<Demo> {
    const dataDir = resolve(process.env['DATA_DIR'] || '.data');
    // Kept until the app listens: another demo that starts at the same time must not choose it as well.
    const held = process.env['PORT'] ? undefined : await holdPort(DEFAULT_PORT);
    const port = process.env['PORT'] || String(held?.port);
    const given = { HOST: '127.0.0.1', ...process.env, PORT: port };
    const surroundings = await shutdown.start(
      // The demo shows the simulated provider, whatever account the surrounding shell knows.
      () => provideDevelopment({ ...given, TWILIO_ACCOUNT_SID: undefined }),
      (started) => started.stop(),
    );
    const config = loadConfig({ ...given, PUBLIC_BASE_URL: `http://127.0.0.1:${port}`, ...surroundings.env });
    const logFile = join(dataDir, 'demo.log');
    mkdirSync(dataDir, { recursive: true });
    const app = await shutdown.start(
      () => createApp(config, pino.destination({ dest: logFile, sync: false })),
      (started) => {
        started.get(Lifecycle).beginShutdown();
        return started.close();
      },
    );
    await held?.release();
    await listen(app, config);

    const { simulator } = surroundings;
    if (!simulator) throw new Error('the demo needs its simulated provider');
    const report = new DemoReport(app, simulator);
    const caller = await DemoCaller.prepare(simulator, config);
    report.welcome({ baseUrl: config.env.PUBLIC_BASE_URL, logFile, tenantId: caller.tenantId });
    return new Demo(report, caller);
  }

  /** Places the calls, a pause apart, and follows each to its end. @returns whether every one kept the promise */
  async run(calls: number, pauseMs: number): Promise<boolean> {
    let kept = true;
    for (let n = 1; n <= calls && !shutdown.begun; n++) {
      const call = await this.caller.placeCall();
      // A call into the end of the demo proves nothing.
      if (shutdown.begun) break;
      kept = (await this.report.follow(n, call)) && kept;
      if (n < calls) await new Promise((done) => setTimeout(done, pauseMs));
    }
    return kept;
  }
}

async function listen(app: NestFastifyApplication, config: Config): Promise<void> {
  try {
    await app.listen({ host: config.env.HOST, port: config.env.PORT });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE') throw error;
    throw new ConfigError([`PORT: ${config.env.PORT} is taken by another program; leave it out, or choose another`]);
  }
}

async function main(): Promise<void> {
  const options = readOptions();
  // A closed terminal hangs up; it must not leave a server behind either.
  shutdown.onSignal(options.exit ? 130 : 0, ['SIGINT', 'SIGTERM', 'SIGHUP']);
  const demo = await Demo.start();
  const kept = await demo.run(options.calls, options.exit ? 300 : PAUSE_BETWEEN_CALLS_MS);
  demo.report.summary();
  if (options.exit) await shutdown.exit(kept ? 0 : 1);
}

main().catch((error: unknown) => {
  // What fails while everything ends fails because of it.
  if (shutdown.begun) return;
  const isPlain = error instanceof ConfigError || error instanceof UsageError;
  process.stderr.write(`${isPlain ? error.message : error instanceof Error ? error.stack : String(error)}\n`);
  return shutdown.exit(1);
});

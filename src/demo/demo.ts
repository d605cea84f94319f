import 'reflect-metadata';
import { mkdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import { pino } from 'pino';
import { createApp } from '../app.factory.js';
import { createLogger } from '../common/logging/logger.js';
import { type Config, ConfigError, loadConfig } from '../infra/config/config.js';
import { Lifecycle } from '../infra/health/lifecycle.service.js';
import { DemoCaller } from './demo-caller.js';
import { DemoReport } from './demo-report.js';
import { freePort, provideDevelopment, type Surroundings } from './development.js';

const DEFAULT_PORT = 3000;
const PAUSE_BETWEEN_CALLS_MS = 3_000;

interface Options {
  calls: number;
  exit: boolean;
}

function readOptions(): Options {
  const { values } = parseArgs({
    options: { calls: { type: 'string' }, exit: { type: 'boolean', default: false } },
  });
  const calls = values.calls === undefined ? Number.POSITIVE_INFINITY : Number(values.calls);
  if (values.calls !== undefined && (!Number.isInteger(calls) || calls < 1)) {
    throw new ConfigError(['--calls: must be a whole number of at least 1']);
  }
  if (values.exit && values.calls === undefined) throw new ConfigError(['--exit: needs --calls N']);
  return { calls, exit: values.exit };
}

/** The whole app with simulated providers, and a missed call every few seconds. */
class Demo {
  private stopping: Promise<void> | undefined;

  private constructor(
    private readonly app: NestFastifyApplication,
    private readonly surroundings: Surroundings,
    readonly report: DemoReport,
    private readonly caller: DemoCaller,
  ) {}

  static async start(): Promise<Demo> {
    const dataDir = resolve(process.env['DATA_DIR'] || '.data');
    const port = process.env['PORT'] || String(await freePort(DEFAULT_PORT));
    const given = { HOST: '127.0.0.1', ...process.env, PORT: port };
    // The demo shows the simulated provider, whatever account the surrounding shell knows.
    const surroundings = await provideDevelopment({ ...given, TWILIO_ACCOUNT_SID: undefined });
    const config = loadConfig({ ...given, PUBLIC_BASE_URL: `http://127.0.0.1:${port}`, ...surroundings.env });
    const logFile = join(dataDir, 'demo.log');
    mkdirSync(dataDir, { recursive: true });
    const logger = createLogger({ level: config.env.LOG_LEVEL }, pino.destination({ dest: logFile, sync: false }));
    const app = await createApp(config, logger);
    await listen(app, config, surroundings);

    const { simulator } = surroundings;
    if (!simulator) throw new Error('the demo needs its simulated provider');
    const report = new DemoReport(app, simulator);
    const caller = await DemoCaller.prepare(simulator, config);
    report.welcome({ baseUrl: config.env.PUBLIC_BASE_URL, logFile, tenantId: caller.tenantId });
    return new Demo(app, surroundings, report, caller);
  }

  /** Places the calls, a pause apart, and follows each to its end. @returns whether every one kept the promise */
  async run(calls: number, pauseMs: number): Promise<boolean> {
    let kept = true;
    for (let n = 1; n <= calls && !this.stopping; n++) {
      const call = await this.caller.placeCall();
      kept = (await this.report.follow(n, call)) && kept;
      if (n < calls) await new Promise((done) => setTimeout(done, pauseMs));
    }
    return kept;
  }

  stop(): Promise<void> {
    this.stopping ??= (async () => {
      this.app.get(Lifecycle).beginShutdown();
      await this.app.close();
      await this.surroundings.stop();
    })();
    return this.stopping;
  }
}

async function listen(app: NestFastifyApplication, config: Config, surroundings: Surroundings): Promise<void> {
  try {
    await app.listen({ host: config.env.HOST, port: config.env.PORT });
  } catch (error) {
    await app.close();
    await surroundings.stop();
    if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE') throw error;
    throw new ConfigError([`PORT: ${config.env.PORT} is taken by another program; leave it out, or choose another`]);
  }
}

async function main(): Promise<void> {
  const options = readOptions();
  const demo = await Demo.start();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => void demo.stop().then(() => process.exit(options.exit ? 130 : 0)));
  }
  const kept = await demo.run(options.calls, options.exit ? 300 : PAUSE_BETWEEN_CALLS_MS);
  demo.report.summary();
  if (!options.exit) return;
  await demo.stop();
  process.exit(kept ? 0 : 1);
}

main().catch((error: unknown) => {
  const text = error instanceof ConfigError ? error.message : error instanceof Error ? error.stack : String(error);
  process.stderr.write(`${text}\n`);
  process.exit(1);
});

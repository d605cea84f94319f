import { createServer } from 'node:net';
import { resolve } from 'node:path';
import { type EmbeddedPostgres, startEmbeddedPostgres } from './embedded-postgres.js';
import { TwilioSimulator } from './simulators/twilio/twilio-simulator.js';

type Env = Readonly<Record<string, string | undefined>>;

/** What development has instead of accounts and servers. */
export interface Surroundings {
  /** Variables that stand in for those that are not set. */
  env: Record<string, string>;
  simulator?: TwilioSimulator;
  stop(): Promise<void>;
}

/** The account of the simulated provider; it opens nothing anywhere else. */
export const SIMULATED_ACCOUNT = {
  accountSid: `AC${'0'.repeat(31)}1`,
  authToken: 'simulated-auth-token',
} as const;

/** Embedded Postgres where no DATABASE_URL is given. */
export async function provideDatabase(env: Env): Promise<EmbeddedPostgres | undefined> {
  if (env['DATABASE_URL']) return undefined;
  return startEmbeddedPostgres({ dataDir: resolve(env['DATA_DIR'] || '.data') });
}

/** Embedded Postgres and a simulated Twilio, each only where nothing real is configured. */
export async function provideDevelopment(env: Env): Promise<Surroundings> {
  const simulator = env['TWILIO_ACCOUNT_SID'] ? undefined : await TwilioSimulator.start({ ...SIMULATED_ACCOUNT });
  // Last, because its server would outlive this process if what follows here failed.
  const database = await provideDatabase(env);
  return {
    env: {
      ...(database && { DATABASE_URL: database.url }),
      ...(simulator && {
        TWILIO_ACCOUNT_SID: SIMULATED_ACCOUNT.accountSid,
        TWILIO_AUTH_TOKEN: SIMULATED_ACCOUNT.authToken,
        TWILIO_API_BASE_URL: simulator.baseUrl,
      }),
    },
    simulator,
    stop: async () => {
      await simulator?.stop();
      await database?.stop();
    },
  };
}

/** A port that is kept from others until it is released. */
export interface HeldPort {
  port: number;
  release(): Promise<void>;
}

/** Holds a free port on all interfaces: `preferred`, else any. Two programs that start at once get different ones. */
export async function holdPort(preferred: number): Promise<HeldPort> {
  const hold = (port: number) =>
    new Promise<HeldPort | undefined>((settle) => {
      const server = createServer((socket) => socket.destroy());
      server.once('error', () => settle(undefined));
      server.listen({ port, host: '0.0.0.0', exclusive: true }, () => {
        const address = server.address();
        const release = () => new Promise<void>((done) => server.close(() => done()));
        settle(typeof address === 'object' && address ? { port: address.port, release } : undefined);
      });
    });
  const held = (await hold(preferred)) ?? (await hold(0));
  if (held === undefined) throw new Error('no free port was found');
  return held;
}

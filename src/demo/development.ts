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
  const database = await provideDatabase(env);
  const simulator = env['TWILIO_ACCOUNT_SID'] ? undefined : await TwilioSimulator.start({ ...SIMULATED_ACCOUNT });
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

/** A free port on all interfaces: `preferred`, else any. */
export async function freePort(preferred: number): Promise<number> {
  const tryPort = (port: number) =>
    new Promise<number | undefined>((settle) => {
      const server = createServer();
      server.once('error', () => settle(undefined));
      server.listen({ port, host: '0.0.0.0', exclusive: true }, () => {
        const address = server.address();
        server.close(() => settle(typeof address === 'object' && address ? address.port : undefined));
      });
    });
  const port = (await tryPort(preferred)) ?? (await tryPort(0));
  if (port === undefined) throw new Error('no free port was found');
  return port;
}

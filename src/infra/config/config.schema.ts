import { z } from 'zod';
import { MAX_UNMASKED_MS } from '../../common/logging/unmasked-copy.js';

const port = z.coerce.number().int().min(1).max(65_535);
const positive = (max: number) => z.coerce.number().int().min(1).max(max);
const flag = z.enum(['true', 'false']).transform((value) => value === 'true');
const url = z.url({ protocol: /^https?$/, hostname: /.+/ }).transform((value) => value.replace(/\/+$/, ''));
const postgres = z.url({ protocol: /^postgres(ql)?$/ });
const credentialPart = z.string().min(1);

/**
 * The environment, one line a variable: what `docs` and the boot check know is what the code can read.
 * Defaults here hold everywhere; development defaults live in `DEVELOPMENT_DEFAULTS` and are refused in production.
 */
export const environmentSchema = z.object({
  NODE_ENV: z.enum(['production', 'development', 'test']).default('development'),
  /** What this process does: everything, only HTTP, or only background work. */
  ROLE: z.enum(['all', 'web', 'worker']).default('all'),
  HOST: z.string().min(1).default('0.0.0.0'),
  PORT: port.default(3000),
  /** The URL providers call; signatures are checked against it. */
  PUBLIC_BASE_URL: url,
  /** Postgres 14 or later, or a pooler in front of it, such as PgBouncer in transaction mode. */
  DATABASE_URL: postgres,
  /**
   * Postgres itself, where `DATABASE_URL` is a pooler: for what needs a session of its own (migrations, the outbox's
   * dispatcher, whoever listens). The pooler has to give its sessions a `statement_timeout`.
   */
  DATABASE_DIRECT_URL: postgres.optional(),
  /** Pool size of this process; the outbox dispatcher has four connections of its own beside it. */
  DB_POOL_MAX: positive(500).default(10),
  /** Where this process may keep files: the embedded database of development, the unmasked copy of the log. */
  DATA_DIR: z.string().min(1).default('.data'),
  LOG_LEVEL: z.enum(['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent']).default('info'),
  /** Shows the first 50 code points of message bodies in the log, redacted. */
  LOG_BODY_PREVIEW: flag.default(false),
  /**
   * Until then the lines of the log are also written, unmasked, to `log-unmasked.<pid>.ndjson` in `DATA_DIR`, which is
   * deleted at that time or when the process ends. A time that is over is no error: a restart must not fail of it.
   */
  LOG_UNMASKED_UNTIL: z.iso
    .datetime({ offset: true, error: 'must be an ISO time with its offset' })
    .transform((value) => new Date(value))
    .refine((time) => time.getTime() <= Date.now() + MAX_UNMASKED_MS, 'must be at most 4 hours ahead')
    .optional(),
  OPS_USERNAME: credentialPart,
  OPS_PASSWORD: credentialPart,
  /** Comma-separated, as many as `METRICS_PASSWORD`, so that credentials can be rotated. */
  METRICS_USERNAME: credentialPart,
  METRICS_PASSWORD: credentialPart,
  /** CIDR list, checked as well as the credentials. */
  METRICS_ALLOW_IPS: z.string().optional(),
  TWILIO_ACCOUNT_SID: z.string().regex(/^AC[0-9a-fA-F]{32}$/, 'must be AC and 32 hexadecimal digits'),
  TWILIO_AUTH_TOKEN: credentialPart,
  TWILIO_API_BASE_URL: url.default('https://api.twilio.com'),
  /** 32 bytes in base64; encrypts the auth tokens of tenants that bring their own Twilio subaccount. */
  CREDENTIALS_KEY: z
    .base64()
    .refine((value) => Buffer.from(value, 'base64').length === 32, 'must be 32 bytes in base64')
    .optional(),
  OUTBOX_BATCH_SIZE: positive(1000).default(100),
  OUTBOX_CONCURRENCY: positive(500).default(20),
  OUTBOX_POLL_MS: positive(60_000).default(1000),
  /** Kill switch: nothing is sent, everything is kept. */
  PAUSE_OUTBOUND_SMS: flag.default(false),
  /** Read by OpenTelemetry before anything of ours runs; here only so that a mistake in it does not go unnoticed. */
  OTEL_EXPORTER_OTLP_ENDPOINT: url.optional(),
  OTEL_EXPORTER_OTLP_PROTOCOL: z
    .enum(['http/protobuf', 'http/json'], 'must be http/protobuf or http/json; a collector takes them on port 4318')
    .optional(),
  OTEL_TRACES_SAMPLER_ARG: z.coerce.number().min(0).max(1).optional(),
});

export type Environment = z.output<typeof environmentSchema>;

/** Convenient at home, dangerous in production: there each of these must be set, and not to this value. */
export const DEVELOPMENT_DEFAULTS = {
  OPS_USERNAME: 'ops',
  OPS_PASSWORD: 'ops',
  METRICS_USERNAME: 'metrics',
  METRICS_PASSWORD: 'metrics',
} as const;

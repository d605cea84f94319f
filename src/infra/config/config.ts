import { BlockList, isIP } from 'node:net';
import { DEVELOPMENT_DEFAULTS, type Environment, environmentSchema } from './config.schema.js';

/** The validated environment; the only source of settings, injected by class. */
export class Config {
  readonly production: boolean;
  /** `all` and `worker` run the outbox; every role answers HTTP, if only for probes and scrapes. */
  readonly runsWorker: boolean;

  constructor(readonly env: Environment) {
    this.production = env.NODE_ENV === 'production';
    this.runsWorker = env.ROLE !== 'web';
  }

  /** Where a session is one's own. */
  get directDatabaseUrl(): string {
    return this.env.DATABASE_DIRECT_URL ?? this.env.DATABASE_URL;
  }

  /** `DATABASE_URL` is a pooler: the next statement may meet another session. */
  get isPooled(): boolean {
    return this.env.DATABASE_DIRECT_URL !== undefined;
  }

  /** The pairs that open `/metrics`; several, so that credentials can be rotated. */
  get metricsCredentials(): { username: string; password: string }[] {
    const passwords = this.env.METRICS_PASSWORD.split(',');
    return this.env.METRICS_USERNAME.split(',').map((username, i) => ({ username, password: passwords[i] ?? '' }));
  }

  /** The addresses that may scrape, or undefined when any may. */
  get metricsAllowList(): BlockList | undefined {
    return this.env.METRICS_ALLOW_IPS === undefined ? undefined : parseAllowList(this.env.METRICS_ALLOW_IPS);
  }
}

function parseAllowList(text: string): BlockList | undefined {
  const list = new BlockList();
  for (const entry of text.split(',').map((part) => part.trim())) {
    const [address = '', prefix] = entry.split('/');
    const version = isIP(address);
    const bits = prefix === undefined ? (version === 4 ? 32 : 128) : Number(prefix);
    if (version === 0 || !Number.isInteger(bits) || bits < 0 || bits > (version === 4 ? 32 : 128)) return undefined;
    list.addSubnet(address, bits, version === 4 ? 'ipv4' : 'ipv6');
  }
  return list;
}

/** Every problem of the environment at once, by variable name and rule, never by value. */
export class ConfigError extends Error {
  constructor(readonly problems: readonly string[]) {
    super(`The environment is not usable:\n${problems.map((problem) => `  - ${problem}`).join('\n')}`);
    this.name = 'ConfigError';
  }
}

/**
 * Validates the environment once, at boot.
 * @throws ConfigError naming every variable that is missing, malformed or left at a development default in production
 */
export function loadConfig(source: Readonly<Record<string, string | undefined>>): Config {
  const production = source['NODE_ENV'] === 'production';
  // An empty variable is an unset one, as shells and compose files write it.
  const given = Object.fromEntries(Object.entries(source).filter(([, value]) => value !== undefined && value !== ''));
  const input = production ? given : { ...developmentDefaults(given), ...given };
  const parsed = environmentSchema.safeParse(input);
  const problems = parsed.success ? [] : parsed.error.issues.map((issue) => describe(issue.path, input, issue.message));

  if (production) {
    for (const [name, value] of Object.entries(DEVELOPMENT_DEFAULTS)) {
      // In every pair of a rotation.
      const passwords = name.endsWith('PASSWORD') ? (given[name]?.split(',') ?? []) : [];
      if (passwords.includes(value)) problems.push(`${name}: is the development default; choose your own`);
    }
  }
  const names = given['METRICS_USERNAME']?.split(',').length ?? 1;
  const passwords = given['METRICS_PASSWORD']?.split(',');
  if (passwords && (passwords.length !== names || passwords.some((password) => password === ''))) {
    problems.push('METRICS_PASSWORD: must hold as many comma-separated entries as METRICS_USERNAME');
  }
  if (given['METRICS_ALLOW_IPS'] && !parseAllowList(given['METRICS_ALLOW_IPS'])) {
    problems.push('METRICS_ALLOW_IPS: must be comma-separated addresses or CIDR ranges');
  }
  if (problems.length > 0 || !parsed.success) throw new ConfigError(problems);
  return new Config(parsed.data);
}

function developmentDefaults(given: Record<string, string | undefined>): Record<string, string> {
  return { ...DEVELOPMENT_DEFAULTS, PUBLIC_BASE_URL: `http://localhost:${given['PORT'] ?? 3000}` };
}

function describe(path: readonly PropertyKey[], input: Record<string, unknown>, message: string): string {
  const name = String(path[0]);
  return input[name] === undefined ? `${name}: is required` : `${name}: ${message}`;
}

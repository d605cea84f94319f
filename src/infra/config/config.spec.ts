import { ConfigError, loadConfig } from './config.js';

const production = {
  NODE_ENV: 'production',
  PUBLIC_BASE_URL: 'https://api.example.com/',
  DATABASE_URL: 'postgres://app:secret@db.example.com/nmc',
  OPS_USERNAME: 'oncall',
  OPS_PASSWORD: 'a-real-one',
  METRICS_USERNAME: 'scraper,next',
  METRICS_PASSWORD: 'first,second',
  TWILIO_ACCOUNT_SID: 'AC00112233445566778899aabbccddeeff',
  TWILIO_AUTH_TOKEN: 'token',
};

function problemsOf(env: Record<string, string | undefined>): readonly string[] {
  try {
    loadConfig(env);
  } catch (error) {
    if (error instanceof ConfigError) return error.problems;
    throw error;
  }
  return [];
}

describe('configuration', () => {
  it('takes a complete production environment, and a trailing slash off the public URL', () => {
    const config = loadConfig(production);
    expect(config.production).toBe(true);
    expect(config.env.PUBLIC_BASE_URL).toBe('https://api.example.com');
    expect(config.metricsCredentials).toEqual([
      { username: 'scraper', password: 'first' },
      { username: 'next', password: 'second' },
    ]);
  });

  it('reports every problem at once, by name and never by value', () => {
    const env = { ...production, PORT: 'eighty', ROLE: 'boss', TWILIO_ACCOUNT_SID: 'hunter2', DATABASE_URL: undefined };
    const problems = problemsOf(env);
    expect(problems.map((problem) => problem.split(':')[0]).sort()).toEqual([
      'DATABASE_URL',
      'PORT',
      'ROLE',
      'TWILIO_ACCOUNT_SID',
    ]);
    expect(problems.join()).not.toMatch(/eighty|boss|hunter2/);
  });

  it('refuses development defaults in production, left out or spelled out', () => {
    const { OPS_PASSWORD, METRICS_USERNAME, METRICS_PASSWORD, PUBLIC_BASE_URL, ...rest } = production;
    expect(problemsOf({ ...rest, METRICS_USERNAME: 'metrics', METRICS_PASSWORD: 'metrics' }).toSorted()).toEqual([
      'METRICS_PASSWORD: is the development default; choose your own',
      'OPS_PASSWORD: is required',
      'PUBLIC_BASE_URL: is required',
    ]);
  });

  it('fills in what development leaves out', () => {
    const { DATABASE_URL, TWILIO_ACCOUNT_SID, TWILIO_AUTH_TOKEN } = production;
    const config = loadConfig({ PORT: '3456', DATABASE_URL, TWILIO_ACCOUNT_SID, TWILIO_AUTH_TOKEN });
    expect(config.env).toMatchObject({ PUBLIC_BASE_URL: 'http://localhost:3456', OPS_USERNAME: 'ops', ROLE: 'all' });
  });

  it('knows Postgres itself behind a pooler', () => {
    const { DATABASE_URL } = production;
    const direct = loadConfig(production);
    expect([direct.directDatabaseUrl, direct.isPooled]).toEqual([DATABASE_URL, false]);
    const DATABASE_DIRECT_URL = 'postgres://app:secret@primary.example.com/nmc';
    const pooled = loadConfig({ ...production, DATABASE_DIRECT_URL });
    expect([pooled.directDatabaseUrl, pooled.isPooled]).toEqual([DATABASE_DIRECT_URL, true]);
  });

  it('takes an empty variable for an unset one', () => {
    expect(loadConfig({ ...production, ROLE: '', LOG_LEVEL: '' }).env).toMatchObject({
      ROLE: 'all',
      LOG_LEVEL: 'info',
    });
  });

  it.each([
    ['METRICS_PASSWORD', 'only-one'],
    ['METRICS_PASSWORD', 'first,'],
    ['METRICS_ALLOW_IPS', '10.0.0.0/8,elsewhere'],
    ['METRICS_ALLOW_IPS', '10.0.0.0/33'],
    ['CREDENTIALS_KEY', Buffer.alloc(16).toString('base64')],
    ['PAUSE_OUTBOUND_SMS', 'yes'],
    ['LOG_BODY_PREVIEW', '1'],
    ['LOG_UNMASKED_UNTIL', 'tomorrow'],
    ['LOG_UNMASKED_UNTIL', '2026-11-23T12:00:00'],
    ['LOG_UNMASKED_UNTIL', new Date(Date.now() + 4.01 * 3_600_000).toISOString()],
    ['OTEL_EXPORTER_OTLP_PROTOCOL', 'grpc'],
    ['OTEL_EXPORTER_OTLP_ENDPOINT', 'collector:4317'],
    ['OTEL_TRACES_SAMPLER_ARG', '10%'],
    ['PUBLIC_BASE_URL', 'ftp://api.example.com'],
    ['DB_POOL_MAX', '0'],
    ['DATABASE_DIRECT_URL', 'db.example.com:5432'],
  ])('refuses %s=%s', (name, value) => {
    expect(problemsOf({ ...production, [name]: value })).toEqual([expect.stringMatching(new RegExp(`^${name}: `))]);
  });

  it('takes an end of unmasked lines up to four hours ahead, and one that is over', () => {
    const { LOG_UNMASKED_UNTIL: unset, LOG_BODY_PREVIEW } = loadConfig(production).env;
    expect([unset, LOG_BODY_PREVIEW]).toEqual([undefined, false]);
    for (const hours of [3.99, -24]) {
      const until = new Date(Date.now() + hours * 3_600_000);
      expect(loadConfig({ ...production, LOG_UNMASKED_UNTIL: until.toISOString() }).env.LOG_UNMASKED_UNTIL).toEqual(
        until,
      );
    }
  });

  it('says where OTLP over gRPC has to go', () => {
    expect(problemsOf({ ...production, OTEL_EXPORTER_OTLP_PROTOCOL: 'grpc' })).toEqual([
      'OTEL_EXPORTER_OTLP_PROTOCOL: must be http/protobuf or http/json; a collector takes them on port 4318',
    ]);
  });
});

import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { jest } from '@jest/globals';
import pg from 'pg';
import { MODULES } from '../../../src/common/context/context.js';
import { SIMULATED_ACCOUNT } from '../../../src/demo/development.js';
import { newSid } from '../../../src/demo/simulators/twilio/ledger.js';
import { TwilioSimulator } from '../../../src/demo/simulators/twilio/twilio-simulator.js';
import { cloneDatabase, type TestDatabase } from '../../support/database.js';
import { eventually } from '../../support/eventually.js';
import { OtlpCollector } from '../../support/otlp-collector.js';
import {
  basic,
  killAllSpawned,
  OPS,
  onboard,
  productionEnvironment,
  SCRAPER,
  SpawnedApp,
} from '../../support/spawned-app.js';

const BUSINESS = '+12125550160';
const OWNER = '+12125550161';
const CALLERS = {
  plain: '+14155550262',
  british: '+447911123463',
  failing: '+14155550264',
  refused: '+14155550265',
  hung: '+14155550266',
  texting: '+14155550267',
  stopping: '+14155550268',
  broken: '+14155550269',
  rejected: '+14155550270',
  forged: '+14155550271',
} as const;
const MENTIONED = '+16465550272';
const NUMBERS = [BUSINESS, OWNER, ...Object.values(CALLERS), MENTIONED];
const EMAILS = ['jane.marrakesh@example.com', 'owner+zanzibar@plumbing.example'];
/** A word of each body, of the part that no preview shows. */
const WORDS = ['kalamazoo', 'ouagadougou', 'tegucigalpa', 'antananarivo', 'reykjavik', 'thimphu'];
const BODY = `My boiler is broken, ring (646) 555-0272 or ${EMAILS[0]}; I am at the house in kalamazoo`;

/** A number as people and machines write it; a UUID or a time of the log is none of these. */
function spellingsOf(number: string): string[] {
  const digits = number.slice(1);
  const last = digits.slice(-10);
  const [area, exchange, line] = [last.slice(0, 3), last.slice(3, 6), last.slice(6)];
  return [
    digits,
    last,
    `${exchange}-${line}`,
    `${exchange} ${line}`,
    `${area}) ${exchange}`,
    `%2B${digits.slice(0, 5)}`,
  ];
}

/** What must not be found in anything that leaves the process; with separators between digits taken away, too. */
function leaksIn(text: string, words: readonly string[]): string[] {
  const bare = text.replace(/(?<=\d)[\s().+-]+(?=\d)/g, '');
  const lower = text.toLowerCase();
  return [
    ...NUMBERS.flatMap(spellingsOf).filter((spelling) => text.includes(spelling)),
    ...NUMBERS.map((number) => number.slice(-10)).filter((digits) => bare.includes(digits)),
    ...[...EMAILS, 'marrakesh', 'zanzibar', 'plumbing.example', ...words].filter((word) => lower.includes(word)),
    ...[SIMULATED_ACCOUNT.authToken, OPS.password, SCRAPER.password, 'guessed-password'].filter((secret) =>
      text.includes(secret),
    ),
  ];
}

jest.setTimeout(120_000);

/** A process under traffic of every kind, and everything it wrote. */
class Traffic {
  readonly lines: Record<string, unknown>[] = [];
  output = '';
  private constructor(
    readonly process: SpawnedApp,
    readonly collector: OtlpCollector,
    readonly dataDir: string,
    readonly baseUrl: string,
    private readonly database: TestDatabase,
    private readonly twilio: TwilioSimulator,
    private readonly db: pg.Client,
  ) {}

  static async start(env: Record<string, string>): Promise<Traffic> {
    const database = await cloneDatabase();
    const twilio = await TwilioSimulator.start({ ...SIMULATED_ACCOUNT });
    const collector = await OtlpCollector.start();
    const dataDir = mkdtempSync(join(tmpdir(), 'nmc-data-'));
    const base = await productionEnvironment(database.url, twilio);
    twilio.webhookBaseUrl = base.PUBLIC_BASE_URL;
    const spawned = new SpawnedApp('main.js', {
      env: { ...base, ...collector.environment, OTEL_TRACES_SAMPLER_ARG: '1', DATA_DIR: dataDir, ...env },
    });
    await spawned.ready(base.PUBLIC_BASE_URL, 60_000);
    const db = new pg.Client({ connectionString: database.url });
    db.on('error', () => undefined);
    await db.connect();
    return new Traffic(spawned, collector, dataDir, base.PUBLIC_BASE_URL, database, twilio, db);
  }

  async stop(): Promise<void> {
    await killAllSpawned();
    await this.db.end();
    await this.collector.stop();
    await this.twilio.stop();
    await this.database.drop();
    rmSync(this.dataDir, { recursive: true, force: true });
  }

  /** Everything that could bring personal data into a line, once; then the process ends. */
  async run(): Promise<void> {
    await onboard(this.baseUrl, {
      numbers: [BUSINESS],
      owner_phone: OWNER,
      first_reply_template: 'Hi from {business}! Reply STOP to opt out of texts from thimphu',
    });
    await this.operatorErrors();
    await this.calls();
    await this.texts();
    await this.refusedWebhooks();
    await this.strangers();
    await this.databaseErrors();
    await eventually(() => this.dispatched('reporting.first_response') >= 2, {
      label: 'the journeys are handled',
      deadlineMs: 20_000,
    });
  }

  async end(): Promise<void> {
    await this.process.kill('SIGTERM');
    this.output = `${this.process.lines.join('\n')}\n${this.process.stderr}`;
    this.lines.push(...this.process.lines.map((line) => JSON.parse(line) as Record<string, unknown>));
  }

  private dispatched(subscriber: string): number {
    return this.process.lines.filter((line) => line.includes(`"${subscriber}"`) && line.includes('event handled'))
      .length;
  }

  private seen(...parts: string[]): Promise<unknown> {
    const matches = (line: string) => parts.every((part) => line.includes(part));
    return eventually(() => this.process.lines.some(matches), { label: `a line with ${parts}`, deadlineMs: 20_000 });
  }

  private post(path: string, body: string, headers: Record<string, string>): Promise<Response> {
    return fetch(`${this.baseUrl}${path}`, { method: 'POST', body, headers });
  }

  private async operatorErrors(): Promise<void> {
    const json = { 'content-type': 'application/json' };
    const tenant = {
      name: EMAILS[1],
      time_zone: 'Europe/Nowhere',
      numbers: [BUSINESS, '4155550262'],
      owner_phone: OWNER,
    };
    const valid = { ...tenant, time_zone: 'America/New_York', numbers: [BUSINESS], voice_mode: 'forward_target' };
    await this.post('/ops/api/tenants', JSON.stringify(tenant), { ...json, ...basic(OPS) });
    await this.post('/ops/api/tenants', JSON.stringify(valid), { ...json, ...basic(OPS) });
    await this.post('/ops/api/tenants', `{"owner_phone": "${OWNER}", ${EMAILS[1]}`, { ...json, ...basic(OPS) });
    await this.post('/ops/api/tenants', JSON.stringify(valid), {
      ...json,
      ...basic({ ...OPS, password: 'guessed-password' }),
    });
    await fetch(`${this.baseUrl}/ops/api/tenants/${BUSINESS}`, { method: 'PATCH', headers: basic(OPS) });
    await fetch(`${this.baseUrl}/metrics`, { headers: basic({ ...SCRAPER, password: 'guessed-password' }) });
  }

  private async calls(): Promise<void> {
    this.twilio.faults.next('status_500', { to: CALLERS.failing });
    this.twilio.faults.next('lost_response', { to: CALLERS.hung });
    const message = `The 'To' number ${CALLERS.refused} is not valid, says ${EMAILS[0]}`;
    this.twilio.faults.always({ kind: 'reject', status: 400, code: 21211, message }, { to: CALLERS.refused });
    for (const from of [CALLERS.plain, CALLERS.british, CALLERS.failing, CALLERS.hung, CALLERS.refused]) {
      await this.twilio.placeCall({ from, to: BUSINESS });
    }
    await this.twilio.placeCall({ from: 'anonymous', to: BUSINESS });
    await this.twilio.placeCall({ from: `sip:${MENTIONED.slice(1)}@example.com`, to: BUSINESS });
    const text = await this.twilio.messageTo(CALLERS.plain);
    await this.twilio.callbackFor(text.sid, 'delivered');
    for (const status of ['500', '400', 'network']) await this.seen('"messages.create"', `"status":"${status}"`);
    await this.seen('"messages.list"');
  }

  private async texts(): Promise<void> {
    const bodies = [
      BODY,
      JSON.stringify({ phone: MENTIONED.slice(2), email: EMAILS[0], town: 'ouagadougou' }),
      `the pin is 5550272, 646.555.0272 that is, or ${MENTIONED} ext 4; tegucigalpa, not reykjavik`,
    ];
    for (const body of bodies) await this.twilio.inboundSms({ from: CALLERS.texting, to: BUSINESS, body });
    await this.twilio.inboundSms({ from: CALLERS.stopping, to: BUSINESS, body: 'STOP' });
    await this.twilio.placeCall({ from: CALLERS.stopping, to: BUSINESS });
    await this.twilio.messageTo(CALLERS.texting);
  }

  private async refusedWebhooks(): Promise<void> {
    const url = `${this.baseUrl}/webhooks/twilio/sms-inbound`;
    const form = {
      AccountSid: SIMULATED_ACCOUNT.accountSid,
      From: CALLERS.forged,
      To: BUSINESS,
      Body: `${BODY} antananarivo`,
    };
    await this.twilio.signedPost(url, { ...form, MessageSid: newSid('SM') }, { forge: true });
    await this.twilio.signedPost(url, { ...form, MessageSid: newSid('SM') }, { forge: 'missing' });
    await this.twilio.signedPost(url, form);
    await this.twilio.signedPost(url, { ...form, MessageSid: newSid('SM'), To: MENTIONED });
    await this.twilio.signedPost(
      `${url}?From=${encodeURIComponent(CALLERS.forged)}`,
      { ...form, MessageSid: 'x' },
      { forge: true },
    );
    const tooMuch = new URLSearchParams({ ...form, Body: BODY.repeat(1_000) }).toString();
    await this.post('/webhooks/twilio/sms-inbound', tooMuch, { 'content-type': 'application/x-www-form-urlencoded' });
    await this.post('/webhooks/twilio/sms-inbound', `{"Body": "${BODY}`, { 'content-type': 'application/json' });
  }

  private async strangers(): Promise<void> {
    const query = new URLSearchParams({ phone: CALLERS.forged, email: String(EMAILS[0]), Body: 'reykjavik' });
    await fetch(`${this.baseUrl}/nowhere/${CALLERS.forged}/${EMAILS[0]}?${query}`, {
      headers: { 'user-agent': `mail ${EMAILS[0]}`, referer: `https://example.com/?to=${MENTIONED}` },
    });
    await fetch(`${this.baseUrl}/health/live?phone=${MENTIONED}`, { headers: { traceparent: `00-${MENTIONED}-x-01` } });
  }

  /** The database's own words about a row are full of it: in the request and in a delivery. */
  private async databaseErrors(): Promise<void> {
    await this.db.query(`
      create function refuse() returns trigger language plpgsql as $$
      begin raise exception 'cannot keep % of %', new.caller, '${EMAILS[0]}'; end $$;
      create trigger refuse before insert on conversation.threads
        for each row when (new.caller = '${CALLERS.broken}') execute function refuse();
      alter table telephony.messages add constraint polite check (body <> 'antananarivo') not valid`);
    await this.twilio.placeCall({ from: CALLERS.broken, to: BUSINESS });
    await this.seen('will be retried', 'cannot keep');
    const refused = await this.twilio.inboundSms({ from: CALLERS.rejected, to: BUSINESS, body: 'antananarivo' });
    expect(refused.status).toBe(503);
    await this.db.query('drop trigger refuse on conversation.threads');
  }
}

type Line = Record<string, unknown>;
type Holds = (value: unknown) => boolean;

const matching =
  (pattern: RegExp): Holds =>
  (value) =>
    typeof value === 'string' && pattern.test(value);
const number: Holds = (value) => typeof value === 'number';
const some = matching(/./);
const uuid = matching(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/);
const orNull =
  (holds: Holds): Holds =>
  (value) =>
    value === null || holds(value);

const isHttp = (line: Line) => line['message'] === 'request completed';
const isWebhook = (line: Line) => isHttp(line) && String(line['route']).startsWith('/webhooks/');
const isDelivery = (line: Line) => 'subscriber' in line;

/** Which fields which kind of line must have, by their exact names: section 3.1 of the specification. */
const KINDS: Record<string, { is: (line: Line) => boolean; fields: Record<string, Holds>; atLeast: number }> = {
  every: {
    is: () => true,
    fields: {
      timestamp: matching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/),
      level: matching(/^(trace|debug|info|warn|error|fatal)$/),
      module: matching(new RegExp(`^(${MODULES.join('|')})$`)),
      tenant_id: orNull(uuid),
      correlation_id: orNull(uuid),
      message: some,
    },
    atLeast: 60,
  },
  HTTP: {
    is: isHttp,
    fields: {
      method: some,
      route: matching(/^(\/|unmatched$)/),
      status: number,
      latency_ms: number,
      correlation_id: uuid,
    },
    atLeast: 25,
  },
  webhook: { is: isWebhook, fields: { provider: matching(/^twilio$/), event_id: orNull(some) }, atLeast: 15 },
  'accepted webhook': {
    is: (line) => isWebhook(line) && line['status'] === 200 && line['event_id'] !== null && !line['duplicate'],
    fields: { event_id: matching(/^\w+:AC/), from: some },
    atLeast: 10,
  },
  outbox: {
    is: isDelivery,
    fields: {
      event_name: matching(/^nmc\./),
      outbox_id: some,
      attempts: number,
      tenant_id: uuid,
      correlation_id: uuid,
      causation_id: uuid,
    },
    atLeast: 10,
  },
  provider: {
    is: (line) => line['message'] === 'provider answered',
    fields: { provider: some, endpoint: some, status: some, latency_ms: number, tenant_id: uuid, correlation_id: uuid },
    atLeast: 5,
  },
  error: {
    is: (line) => line['level'] === 'error' || line['level'] === 'fatal' || 'error_code' in line,
    fields: { error_code: some, error_message: some },
    atLeast: 10,
  },
};

describe.each<{ level: string; env: Record<string, string> }>([
  { level: 'info', env: { LOG_LEVEL: 'info' } },
  { level: 'debug', env: { LOG_LEVEL: 'debug', LOG_BODY_PREVIEW: 'true', LOG_UNMASKED_UNTIL: inAnHour() } },
])('at level $level, what leaves the process', ({ level, env }) => {
  let traffic: Traffic;
  let unmasked = { text: '', mode: 0 };
  let metrics = '';

  beforeAll(async () => {
    traffic = await Traffic.start(env);
    await traffic.run();
    metrics = await (await fetch(`${traffic.baseUrl}/metrics`, { headers: basic(SCRAPER) })).text();
    const [copy] = copies(traffic.dataDir);
    if (copy) unmasked = { text: readFileSync(copy, 'utf8'), mode: statSync(copy).mode & 0o777 };
    await traffic.end();
  });
  afterAll(() => traffic.stop());

  it('is of every kind: answers of every sort, deliveries that failed, providers that did', () => {
    const statuses = new Set(traffic.lines.filter(isHttp).map(({ status }) => status));
    expect([...statuses].sort()).toEqual(expect.arrayContaining([200, 201, 400, 401, 403, 404, 409, 413, 503]));
    const messages = new Set(traffic.lines.map(({ message }) => message));
    for (const message of ['event handled', 'event failed, will be retried', 'provider answered', 'request failed']) {
      expect(messages).toContain(message);
    }
  });

  it('names no number, no address, no secret and no body in any line', () => {
    const words = level === 'debug' ? ['kalamazoo', 'ouagadougou', 'reykjavik', 'thimphu'] : WORDS;
    const leaks = traffic.output.split('\n').flatMap((line) => leaksIn(line, words).map((leak) => `${leak}: ${line}`));
    expect(leaks).toEqual([]);
    expect(traffic.output).toContain('***0267');
  });

  it('names none of it in any span, event or status, nor in any metric', () => {
    expect(traffic.collector.spans.length).toBeGreaterThan(200);
    const failed = traffic.collector.spans.filter(({ status }) => status.code === 2);
    expect(failed.length).toBeGreaterThan(3);
    const leaks = traffic.collector.spans.flatMap(({ raw }) => leaksIn(raw, WORDS).map((leak) => `${leak}: ${raw}`));
    expect(leaks).toEqual([]);
    expect(leaksIn(metrics, WORDS)).toEqual([]);
  });

  it.each(Object.entries(KINDS))('has the required fields on every line: %s', (_kind, { is, fields, atLeast }) => {
    const lines = traffic.lines.filter(is);
    expect(lines.length).toBeGreaterThanOrEqual(atLeast);
    const wrong = lines.flatMap((line) =>
      Object.entries(fields)
        .filter(([name, holds]) => !(name in line && holds(line[name])))
        .map(([name]) => `${name}: ${JSON.stringify(line)}`),
    );
    expect(wrong).toEqual([]);
  });

  it('knows the tenant on every line of a journey from the moment that it is known', () => {
    const journeys = Map.groupBy(traffic.lines, (line) => line['correlation_id']);
    journeys.delete(null);
    for (const lines of journeys.values()) {
      const since = lines.findIndex((line) => line['tenant_id'] !== null);
      if (since >= 0) expect(new Set(lines.slice(since).map((line) => line['tenant_id'])).size).toBe(1);
    }
  });

  it('shows stacks in DEBUG only', () => {
    const stacks = traffic.lines.filter((line) => 'stack' in line);
    const errors = traffic.lines.filter((line) => 'stack_hash' in line);
    expect(errors.length).toBeGreaterThan(3);
    expect(stacks).toHaveLength(level === 'debug' ? errors.length : 0);
    if (level === 'info') expect(traffic.output).not.toMatch(/\\n\s+at /);
  });

  it('shows bodies only where previews are switched on, and then their beginnings, redacted', () => {
    const previews = traffic.lines.flatMap((line) => ('body_preview' in line ? [String(line['body_preview'])] : []));
    if (level === 'info') return expect(previews).toEqual([]);
    expect(previews).toContain('My boiler is broken, ring (***0272 or ***@***; I a');
    expect(previews).toContainEqual(expect.stringMatching(/^Hi from Joe's Plumbing/));
    for (const preview of previews) expect(Array.from(preview).length).toBeLessThanOrEqual(50);
  });

  it('goes unmasked to a file of its own if an end was set, announced, counted, and deleted with the process', () => {
    const announced = traffic.lines.filter(({ message }) => /unmasked/.test(String(message)));
    if (level === 'info') {
      expect([announced, unmasked.text, copies(traffic.dataDir)]).toEqual([[], '', []]);
      expect(metrics).toMatch(/^log_unmasked_active 0$/m);
      return;
    }
    expect(announced[0]).toMatchObject({ level: 'warn', until: env['LOG_UNMASKED_UNTIL'], file: expect.any(String) });
    expect(metrics).toMatch(/^log_unmasked_active 1$/m);
    expect(metrics).toMatch(/^log_unmasked_lines_total [1-9]/m);
    expect(unmasked.text).toContain(`"from":"${CALLERS.texting}"`);
    expect(leaksIn(unmasked.text, ['kalamazoo', 'thimphu', 'reykjavik'])).not.toContain('kalamazoo');
    expect(unmasked.mode).toBe(0o600);
    expect(existsSync(String(announced[0]?.['file']))).toBe(false);
    expect(copies(traffic.dataDir)).toEqual([]);
  });
});

function inAnHour(): string {
  return new Date(Date.now() + 3_600_000).toISOString();
}

function copies(directory: string): string[] {
  return readdirSync(directory).map((name) => join(directory, name));
}

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { SIMULATED_ACCOUNT } from '../../src/demo/development.js';
import { newSid } from '../../src/demo/simulators/twilio/ledger.js';
import { TwilioSimulator } from '../../src/demo/simulators/twilio/twilio-simulator.js';
import { cloneDatabase, type TestDatabase } from './database.js';
import { eventually } from './eventually.js';
import { OtlpCollector } from './otlp-collector.js';
import { basic, killAllSpawned, OPS, onboard, productionEnvironment, SCRAPER, SpawnedApp } from './spawned-app.js';

const BUSINESS = '+12125550160';
const OWNER = '+12125550161';
export const CALLERS = {
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
export const WORDS = ['kalamazoo', 'ouagadougou', 'tegucigalpa', 'antananarivo', 'reykjavik', 'thimphu'];
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
export function leaksIn(text: string, words: readonly string[]): string[] {
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

/** A process under traffic of every kind, and everything it wrote. */
export class Traffic {
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

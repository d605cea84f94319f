import { createServer } from 'node:net';
import { jest } from '@jest/globals';
import pg from 'pg';
import { SIMULATED_ACCOUNT } from '../../../src/demo/development.js';
import { TwilioSimulator } from '../../../src/demo/simulators/twilio/twilio-simulator.js';
import { cloneDatabase, type TestDatabase } from '../../support/database.js';
import { eventually } from '../../support/eventually.js';
import { killAllSpawned, onboard, productionEnvironment, SpawnedApp } from '../../support/spawned-app.js';

const BUSINESS = '+12125550140';
const POOLED_BUSINESS = '+12125550141';
const OWNER = '+12125550142';
const SERVICE = `MG${'a1b2c3d4'.repeat(4)}`;
const LOG_LEVEL = 'trace';

// Whole processes start and end here, some of them with a database server of their own.
jest.setTimeout(60_000);

let database: TestDatabase;
let twilio: TwilioSimulator;
let env: Awaited<ReturnType<typeof productionEnvironment>>;
let db: pg.Pool;

beforeAll(async () => {
  database = await cloneDatabase();
  twilio = await TwilioSimulator.start({ ...SIMULATED_ACCOUNT });
  env = await productionEnvironment(database.url, twilio);
  twilio.webhookBaseUrl = env.PUBLIC_BASE_URL;
  twilio.messagingService(SERVICE, ['+12125550143']);
  db = new pg.Pool({ connectionString: database.url, max: 2 });
  db.on('error', () => undefined);
});
afterAll(async () => {
  await killAllSpawned();
  await twilio.stop();
  await db.end();
  await database.drop();
});

describe('the production build', () => {
  let app: SpawnedApp;
  beforeAll(async () => {
    app = new SpawnedApp('main.js', { env: { ...env, LOG_LEVEL } });
    await app.ready(env.PUBLIC_BASE_URL);
    await onboard(env.PUBLIC_BASE_URL, { numbers: [BUSINESS], owner_phone: OWNER });
    await onboard(env.PUBLIC_BASE_URL, {
      name: 'Ann Heating',
      numbers: [POOLED_BUSINESS],
      messaging_service_sid: SERVICE,
    });
  });
  afterAll(() => killAllSpawned());

  it('turns a signed voice webhook into exactly one message, from the number that was called', async () => {
    const caller = '+14155550201';
    const call = await twilio.placeCall({ from: caller, to: BUSINESS });
    expect(call).toMatchObject({ status: 200, twiml: expect.stringContaining('<Hangup/>') });
    const text = await twilio.messageTo(caller);
    expect(text.params).toMatchObject({ To: caller, From: BUSINESS });
    expect(text.params).not.toHaveProperty('MessagingServiceSid');
    expect(text.params['Body']).toContain("Joe's Plumbing");
    expect(text.params['StatusCallback']).toMatch(
      new RegExp(`^${env.PUBLIC_BASE_URL}/webhooks/twilio/sms-status\\?m=[0-9a-f-]{36}&a=1$`),
    );
    const delivered = await twilio.callbackFor(text.sid, 'delivered');
    expect(delivered.result?.status).toBe(200);
    // The same webhook again, as Twilio repeats one whose answer it has not seen.
    await twilio.placeCall({ from: caller, to: BUSINESS, callSid: call.callSid });
    expect(twilio.ledger.requests.filter(({ params }) => params['To'] === caller)).toHaveLength(1);
  });

  it('sends through the Messaging Service of a tenant that has one', async () => {
    const caller = '+14155550202';
    await twilio.placeCall({ from: caller, to: POOLED_BUSINESS });
    const text = await twilio.messageTo(caller);
    expect(text.params).toMatchObject({ To: caller, MessagingServiceSid: SERVICE });
    expect(text.params).not.toHaveProperty('From');
    expect(twilio.ledger.messagesTo(caller)).toHaveLength(1);
  });

  it('refuses a webhook with a foreign signature, and sends nothing', async () => {
    const caller = '+14155550203';
    const forged = await twilio.placeCall({ from: caller, to: BUSINESS, forge: true });
    expect(forged.status).toBe(403);
    const { rows } = await db.query('select 1 from telephony.calls where caller = $1', [caller]);
    expect(rows).toEqual([]);
  });

  it('answers the three probes', async () => {
    for (const probe of ['live', 'ready', 'startup']) {
      const response = await fetch(`${env.PUBLIC_BASE_URL}/health/${probe}`);
      expect([probe, response.status]).toEqual([probe, 200]);
      expect(await response.json()).toMatchObject({ status: 'ok' });
    }
  });

  it('logs a journey that can be followed by its correlation id, with nobody to be recognised in it', async () => {
    const caller = '+14155550204';
    const mentioned = '+13105550177';
    const call = await twilio.placeCall({ from: caller, to: BUSINESS });
    const text = await twilio.messageTo(caller);
    await twilio.callbackFor(text.sid, 'delivered');
    const body = 'The boiler at 12 Elm Street leaks. Call my husband, (310) 555-0177 or 310.555.0177';
    expect(await twilio.inboundSms({ from: caller, to: BUSINESS, body })).toMatchObject({ status: 200 });

    const correlationId = String(call.headers['x-correlation-id']);
    const expected = [
      { module: 'telephony', message: 'request completed', route: '/webhooks/twilio/voice', status: 200 },
      { module: 'conversation', message: 'event handled', event_name: 'nmc.telephony.CallDetected' },
      { provider: 'twilio', endpoint: 'messages.create', status: '201' },
      { message: 'event handled', event_name: 'nmc.telephony.OutboundSmsQueued' },
      { module: 'telephony', route: '/webhooks/twilio/sms-status', event_id: stringEnding(`${text.sid}:delivered`) },
      { module: 'telephony', message: 'request completed', route: '/webhooks/twilio/sms-inbound' },
    ];
    await eventually(
      () => {
        const journey = app.journey(correlationId);
        for (const line of expected) expect(journey).toContainEqual(expect.objectContaining(line));
      },
      { label: 'the journey is in the log' },
    );

    expect(app.lines.length).toBeGreaterThan(20);
    for (const line of app.lines) {
      const parsed = JSON.parse(line) as Record<string, unknown>;
      expect(parsed).toMatchObject({ timestamp: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/) });
      expect(parsed).toMatchObject({ level: expect.any(String), module: expect.any(String) });
      expect(parsed).toHaveProperty('correlation_id');
    }
    const output = app.lines.join('\n') + app.stderr;
    for (const phone of [caller, mentioned, BUSINESS, OWNER]) expect(numbersIn(output)).not.toContain(phone.slice(2));
    for (const words of ['boiler', 'Elm Street', text.body.slice(0, 20), text.body.slice(-20)]) {
      expect(output).not.toContain(words);
    }
    for (const secret of [env['TWILIO_AUTH_TOKEN'], env['OPS_PASSWORD'], env['METRICS_PASSWORD']]) {
      expect(output).not.toContain(secret);
    }
  });

  it('turns unready before it stops, finishes what is under way, and leaves the rest to the next process', async () => {
    const [inFlight, late] = ['+14155550205', '+14155550206'];
    twilio.faults.next({ kind: 'latency', ms: 1_500 }, { to: inFlight });
    const request = twilio.nextCreate();
    await twilio.placeCall({ from: inFlight, to: BUSINESS });
    await request;

    const signalledAt = performance.now();
    app.signal('SIGTERM');
    await eventually(async () => (await fetch(`${env.PUBLIC_BASE_URL}/health/ready`)).status === 503, {
      label: 'readiness turns 503 while the text is under way',
    });
    expect(app.exit).toBeUndefined();
    expect((await fetch(`${env.PUBLIC_BASE_URL}/health/live`)).status).toBe(200);
    expect(await twilio.placeCall({ from: late, to: BUSINESS })).toMatchObject({ status: 200 });

    expect(await app.ended).toEqual({ code: 0, signal: null });
    expect(performance.now() - signalledAt).toBeLessThan(10_000);
    const states = `select m.message_sid, a.outcome, a.http_status from telephony.messages m
      join telephony.send_attempts a using (message_id) where m.caller = $1`;
    const [sent] = twilio.ledger.messagesTo(inFlight);
    const { rows } = await db.query(states, [inFlight]);
    expect(rows).toEqual([{ message_sid: sent?.sid, outcome: 'accepted', http_status: '201' }]);
    expect(twilio.ledger.messagesTo(late)).toEqual([]);

    const next = new SpawnedApp('main.js', { env });
    await next.ready(env.PUBLIC_BASE_URL);
    await twilio.messageTo(late);
    expect(await next.kill('SIGTERM')).toEqual({ code: 0, signal: null });
    expect(twilio.ledger.messagesTo(inFlight)).toHaveLength(1);
    expect(twilio.ledger.messagesTo(late)).toHaveLength(1);
  });
});

describe('a port that is taken', () => {
  it('is named, with what to do', async () => {
    const occupant = createServer();
    await new Promise<void>((done) => occupant.listen(0, '127.0.0.1', done));
    const { port } = occupant.address() as { port: number };
    const app = new SpawnedApp('main.js', { env: { ...env, PORT: String(port) } });
    expect(await app.ended).toEqual({ code: 1, signal: null });
    expect(app.stderr).toMatch(new RegExp(`PORT: ${port} is taken .*choose another`));
    expect(app.stderr).not.toContain('    at ');
    await new Promise((done) => occupant.close(done));
  });
});

function stringEnding(end: string): string {
  return expect.stringMatching(new RegExp(`${end}$`)) as string;
}

/** Every digit sequence of a text with the characters that phone numbers are written with taken out. */
function numbersIn(text: string): string {
  return text.replace(/%2B|%20|[ ().+\-/_]/gi, '');
}

import { randomInt } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import pg from 'pg';
import { SIMULATED_ACCOUNT } from '../../../src/demo/development.js';
import { TwilioSimulator } from '../../../src/demo/simulators/twilio/twilio-simulator.js';
import { cloneDatabase, type TestDatabase } from '../../support/database.js';
import { eventually } from '../../support/eventually.js';
import { Seeded } from '../../support/seeded.js';
import { killAllSpawned, onboard, productionEnvironment, SpawnedApp } from '../../support/spawned-app.js';

const BUSINESS = '+12125550170';
const KILLS = 10;
const CALLS_AT_ONCE = 8;
const PROVIDER_LATENCY_MS = 150;
const LOAD_MS = { least: 250, most: 1_200 };
/** A lost answer is looked for at 2, 5, 10 and 20 s, and only then sent again. */
const TAIL_MS = 40_000;
/** An answer this close to a kill may or may not have been read. */
const UNCERTAIN_MS = 30;

/** `CRASH_SEED` repeats a run, as far as the moments and latencies go. */
const seed = Number(process.env['CRASH_SEED'] ?? randomInt(2 ** 31));
const random = new Seeded(seed).next;

interface Attempt {
  key: string;
  caller: string;
  outcome: string;
  http_status: string | null;
  resend: boolean;
}

let database: TestDatabase;
let db: pg.Pool;
let twilio: TwilioSimulator;
let env: Awaited<ReturnType<typeof productionEnvironment>>;
let app: SpawnedApp;
const latencies: number[] = [];
const killedAt: number[] = [];
const calls: { caller: string; callSid: string; attempts: number }[] = [];
let attempts: Attempt[];

beforeAll(async () => {
  database = await cloneDatabase();
  db = new pg.Pool({ connectionString: database.url, max: 2 });
  db.on('error', () => undefined);
  twilio = await TwilioSimulator.start({ ...SIMULATED_ACCOUNT });
  env = await productionEnvironment(database.url, twilio);
  twilio.webhookBaseUrl = env.PUBLIC_BASE_URL;
  for (let n = 0; n < 5_000; n += 1) {
    const ms = Math.floor(random() * PROVIDER_LATENCY_MS);
    latencies.push(ms);
    twilio.faults.next({ kind: 'latency', ms });
  }
}, 30_000);
afterAll(async () => {
  await killAllSpawned();
  await twilio.stop();
  await db.end();
  await database.drop();
});

async function start(): Promise<void> {
  app = new SpawnedApp('main.js', { env: { ...env, LOG_LEVEL: 'warn' } });
  await app.ready(env.PUBLIC_BASE_URL);
}

/** One caller after the other, each webhook repeated until it is accepted, as Twilio does with `#rc=3&rp=all`. */
async function placeCallsWhile(isWanted: () => boolean): Promise<void> {
  while (isWanted()) {
    const caller = `+1415556${String(calls.length).padStart(4, '0')}`;
    const call = { caller, callSid: `CA${String(calls.length).padStart(32, '0')}`, attempts: 0 };
    calls.push(call);
    for (let status = 0; status !== 200; ) {
      const answer = await twilio.placeCall({ from: caller, to: BUSINESS, callSid: call.callSid, withRetries: 100 });
      call.attempts += answer.attempts;
      status = answer.status;
    }
  }
}

const textsTo = (caller: string) => twilio.ledger.messagesTo(caller).length;

describe(`an app that is killed ${KILLS} times under load (CRASH_SEED=${seed})`, () => {
  it('comes back each time, and every caller has got a text at the end', async () => {
    await start();
    await onboard(env.PUBLIC_BASE_URL, { numbers: [BUSINESS] });
    let loaded = true;
    const load = Promise.all(Array.from({ length: CALLS_AT_ONCE }, () => placeCallsWhile(() => loaded)));
    for (let n = 0; n < KILLS; n += 1) {
      // The one pause of the suite: the moment of the crash is the input of this test.
      await pause(LOAD_MS.least + random() * (LOAD_MS.most - LOAD_MS.least));
      killedAt.push(Date.now());
      expect(await app.kill('SIGKILL')).toEqual({ code: null, signal: 'SIGKILL' });
      await start();
    }
    loaded = false;
    await load;

    await eventually(() => calls.every(({ caller }) => textsTo(caller) > 0), {
      deadlineMs: TAIL_MS,
      label: 'every caller has a text',
    });
    // A double would be sent by work that is still under way.
    const open = 'select 1 from infra.outbox_deliveries';
    await eventually(async () => (await db.query(open)).rowCount === 0, {
      deadlineMs: TAIL_MS,
      label: 'nothing is under way any more',
    });
    ({ rows: attempts } = await db.query<Attempt>(
      `select message_id || '/' || a.attempt as key, caller, outcome, http_status, resend
       from telephony.send_attempts a join telephony.messages m using (message_id)`,
    ));
  }, 150_000);

  it('was really hit: webhooks had to be repeated, and answers of the provider were lost', () => {
    expect(calls.length).toBeGreaterThan(100);
    expect(calls.filter((call) => call.attempts > 1).length).toBeGreaterThan(KILLS);
    expect(lostAnswers().length).toBeGreaterThan(0);
  });

  it('texted nobody twice', () => {
    expect(calls.filter(({ caller }) => textsTo(caller) !== 1)).toEqual([]);
    expect(twilio.ledger.messages).toHaveLength(calls.length);
  });

  it('gave none up', async () => {
    const { rows } = await db.query('select subscriber, reason, error_code from infra.outbox_dead_letters');
    expect(rows).toEqual([]);
  });

  it('has for every decided call one message that the provider accepted, with one sid', async () => {
    const { rows } = await db.query(
      `select c.caller, c.decision, array_agg(m.state) as states, array_agg(m.message_sid) as sids
       from telephony.calls c left join telephony.messages m on m.trigger_id = c.call_id
       group by c.call_id, c.caller, c.decision`,
    );
    expect(rows).toHaveLength(calls.length);
    for (const row of rows) {
      const [text] = twilio.ledger.messagesTo(row.caller);
      expect(row).toEqual({ caller: row.caller, decision: 'reply', states: [expect.any(String)], sids: [text?.sid] });
      expect(['accepted', 'queued', 'sending', 'sent', 'delivered']).toContain(row.states[0]);
    }
    const twoSids = await db.query(
      `select message_id from telephony.send_attempts where message_sid is not null
       group by message_id having count(distinct message_sid) > 1`,
    );
    expect(twoSids.rows).toEqual([]);
  });

  it('has every request to the provider on record, and those without an answer as such', () => {
    const recorded = new Map(attempts.map((attempt) => [attempt.key, attempt]));
    for (const { params } of twilio.ledger.requests) expect(recorded.get(keyOf(params))).toBeDefined();
    for (const request of lostAnswers()) {
      // 201 would claim that the answer was read; the sid was learned from the list or a callback instead.
      expect(recorded.get(keyOf(request.params))).toMatchObject({ caller: request.params['To'], http_status: null });
    }
    expect(attempts.filter(({ outcome }) => outcome === 'accepted')).toHaveLength(calls.length);
  });
});

/** The requests whose answer was due only after the process that waited for it had been killed. */
function lostAnswers() {
  return twilio.ledger.requests.filter(({ at }, index) => {
    const answeredAt = at.getTime() + (latencies[index] ?? 0);
    return killedAt.some((killed) => at.getTime() <= killed && answeredAt > killed + UNCERTAIN_MS);
  });
}

/** Our message and attempt, as the callback URL carries them. */
function keyOf(params: Readonly<Record<string, string>>): string {
  const query = new URL(params['StatusCallback'] ?? '').searchParams;
  return `${query.get('m')}/${query.get('a')}`;
}

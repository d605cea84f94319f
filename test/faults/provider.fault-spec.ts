import { eventually } from '../support/eventually.js';
import { TcpProxy } from '../support/tcp-proxy.js';
import { BUSINESS_NUMBER, TestApp } from '../support/test-app.js';

const CALLERS = 25;
let app: TestApp;
let proxy: TcpProxy;
let simulatorPort = 0;
beforeAll(async () => {
  proxy = await TcpProxy.start({ targets: () => [simulatorPort] });
  app = await TestApp.start({ env: { TWILIO_API_BASE_URL: `http://127.0.0.1:${proxy.port}` } });
  simulatorPort = Number(new URL(app.twilio.baseUrl).port);
  await app.onboard();
});
afterEach(() => app.twilio.faults.clear());
afterAll(async () => {
  await app.stop();
  await proxy.stop();
});

const callerOf = (series: number) => (n: number) => `+14258${series}${String(n).padStart(5, '0')}`;
const numbers = Array.from({ length: CALLERS }, (_, n) => n);

/** Everybody calls; each is promised a text. */
async function everybodyCalls(caller: (n: number) => string): Promise<void> {
  const calls = await Promise.all(
    numbers.map((n) => app.twilio.placeCall({ from: caller(n), to: BUSINESS_NUMBER, withRetries: 3 })),
  );
  expect(calls.map(({ status }) => status)).toEqual(numbers.map(() => 200));
}

async function everybodyHasOneText(caller: (n: number) => string): Promise<void> {
  await eventually(() => numbers.every((n) => app.twilio.ledger.messagesTo(caller(n)).length > 0), {
    deadlineMs: 60_000,
    label: 'everybody has a text',
  });
  await eventually(async () => (await app.row('select 1 from infra.outbox_deliveries')) === undefined, {
    deadlineMs: 30_000,
    label: 'the outbox is empty',
  });
  expect(numbers.map((n) => app.twilio.ledger.messagesTo(caller(n)).length)).toEqual(numbers.map(() => 1));
  expect(await app.row('select * from infra.outbox_dead_letters')).toBeUndefined();
}

async function attempts(series: number) {
  const { rows } = await app.db.query<{ caller: string; outcome: string; resend: boolean; at: number }>(
    `select caller, outcome, resend, extract(epoch from started_at)::float8 * 1000 as at
     from telephony.send_attempts join telephony.messages using (message_id)
     where caller like $1 order by started_at`,
    [`+14258${series}%`],
  );
  return rows;
}

it('row 16: a storm of 429 burns no attempt and waits as long as it is told to', async () => {
  const caller = callerOf(2);
  app.twilio.faults.always({ kind: 'status_429', retryAfterSeconds: 1 });
  await everybodyCalls(caller);
  const asked = () => app.twilio.ledger.requests.length;
  await eventually(() => asked() >= CALLERS / 2, { deadlineMs: 60_000, label: 'many were refused' });
  expect(app.twilio.ledger.messages).toHaveLength(0);
  app.twilio.faults.clear();
  await everybodyHasOneText(caller);

  const tries = await attempts(2);
  expect(tries.filter(({ resend }) => resend)).toEqual([]);
  expect(new Set(tries.map(({ outcome }) => outcome))).toEqual(new Set(['not_processed', 'accepted']));
  const waits: number[] = [];
  for (const n of numbers) {
    const own = tries.filter((attempt) => attempt.caller === caller(n)).map(({ at }) => at);
    waits.push(...own.slice(1).map((at, index) => at - (own[index] ?? 0)));
  }
  for (const wait of waits) expect(wait).toBeGreaterThan(1_000);
  const burned = await app.db.query('select 1 from infra.outbox_history where attempts > 1');
  expect(burned.rows).toEqual([]);
}, 120_000);

it('row 18: a provider that is away leaves nothing unknown, and gets everything when it is back', async () => {
  const caller = callerOf(3);
  await proxy.refuse();
  await everybodyCalls(caller);
  const isRefused = `select 1 from telephony.send_attempts join telephony.messages using (message_id)
    where caller like '+142583%' and outcome = 'not_processed' offset $1`;
  await eventually(async () => (await app.row(isRefused, [2])) !== undefined, {
    deadlineMs: 60_000,
    label: 'some were tried, and met nobody',
  });
  await proxy.accept();
  await everybodyHasOneText(caller);
  const tries = await attempts(3);
  expect(tries.filter(({ resend }) => resend)).toEqual([]);
  expect(new Set(tries.map(({ outcome }) => outcome))).toEqual(new Set(['not_processed', 'accepted']));
}, 120_000);

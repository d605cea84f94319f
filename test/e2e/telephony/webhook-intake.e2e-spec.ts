import { randomUUID } from 'node:crypto';
import { getExpectedTwilioSignature } from 'twilio/lib/webhooks/webhooks.js';
import { SIMULATED_ACCOUNT } from '../../../src/demo/development.js';
import { newSid } from '../../../src/demo/simulators/twilio/ledger.js';
import { eventually } from '../../support/eventually.js';
import { TestApp } from '../../support/test-app.js';

const BUSINESS = '+12125550110';
const NOBODYS = '+12125550119';
const BODY_LIMIT = 64 * 1024;
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}$/;
const HITS = 'webhook_dedupe_hits_total{provider="twilio"}';

let app: TestApp;
let other: TestApp;

beforeAll(async () => {
  app = await TestApp.start();
  other = await TestApp.start({ beside: app });
  await app.onboard({ numbers: [BUSINESS] });
});
afterAll(async () => {
  await other.stop();
  await app.stop();
});

/** Posts a body byte for byte as given, signed over what it parses to. */
async function post(path: string, body: string, headers: Record<string, string> = {}) {
  const parameters: Record<string, string | string[]> = {};
  for (const [name] of new URLSearchParams(body)) {
    // Another realm's array would not be one to the signing library.
    const values = Array.from(new URLSearchParams(body).getAll(name));
    parameters[name] = values.length > 1 ? values : (values[0] ?? '');
  }
  const url = `${app.baseUrl}/webhooks/twilio/${path}`;
  const signature = getExpectedTwilioSignature(SIMULATED_ACCOUNT.authToken, url, parameters);
  return fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/x-www-form-urlencoded', 'x-twilio-signature': signature, ...headers },
    body: Buffer.from(body),
  });
}

const account = `AccountSid=${SIMULATED_ACCOUNT.accountSid}`;
const ring = (callSid: string, rest = '') =>
  `${account}&CallSid=${callSid}&CallStatus=ringing&From=%2B14155550149&To=${encodeURIComponent(BUSINESS)}${rest}`;

const recorded = (callSid: string) =>
  app.row<{ parameters: Record<string, unknown>; correlation_id: string }>(
    `select parameters, correlation_id from telephony.webhook_events where parameters ->> 'CallSid' = $1`,
    [callSid],
  );

/** Waits until the outbox has delivered everything, then answers how often the caller was called about and texted. */
async function outcome(caller: string) {
  await eventually(async () => (await app.row('select 1 from infra.outbox_deliveries')) === undefined, {
    label: 'the outbox is empty',
  });
  const row = await app.row<{ calls: number; detected: number; requested: number }>(
    `select (select count(*)::int from telephony.calls where caller = $1) as calls,
      (select count(*)::int from infra.outbox_events
        where event_name = 'nmc.telephony.CallDetected' and payload ->> 'caller' = $1) as detected,
      (select count(*)::int from telephony.messages where caller = $1) as requested`,
    [caller],
  );
  return { ...row, texts: app.twilio.ledger.messagesTo(caller).length };
}
const ONCE = { calls: 1, detected: 1, requested: 1, texts: 1 };

describe('the same webhook again', () => {
  it.each([
    ['one after the other', '+14155550150', false],
    ['at the same moment, at two processes', '+14155550151', true],
  ])('gives the same answer and nothing else, %s', async (_how, caller, atOnce) => {
    const call = { from: caller, to: BUSINESS, callSid: newSid('CA') };
    const hits = (await app.metric(HITS)) ?? 0;
    const send = (n: number) =>
      app.twilio.placeCall({
        ...call,
        idempotencyToken: n < 2 ? 'the-same' : `another-${n}`,
        webhookBaseUrl: (n % 2 === 0 ? app : other).baseUrl,
      });
    const answers = [];
    if (atOnce) answers.push(...(await Promise.all([0, 1, 2, 3, 4].map(send))));
    else for (const n of [0, 1, 2, 3, 4]) answers.push(await send(n));

    expect(answers.map(({ status }) => status)).toEqual([200, 200, 200, 200, 200]);
    expect(answers[0]?.body).toContain('sending you a text message');
    expect(new Set(answers.map(({ body }) => body)).size).toBe(1);
    expect(await app.metric(HITS)).toBe(hits + 4);
    await app.twilio.messageTo(caller);
    expect(await outcome(caller)).toEqual(ONCE);
  });
});

describe('what a webhook carries', () => {
  it('is kept, parameters that nobody knows and repeated ones included', async () => {
    const callSid = newSid('CA');
    const answer = await post('voice', ring(callSid, '&Brand%20New=yes&Again=2&Again=1&__Proto=x&Empty='));
    expect(answer.status).toBe(200);
    expect((await recorded(callSid))?.parameters).toMatchObject({
      CallStatus: 'ringing',
      'Brand New': 'yes',
      Again: ['2', '1'],
      Empty: '',
    });
  });

  it('may hold NUL, emoji, lone percent signs and bytes that are no text', async () => {
    const from = '%2B14155550152';
    const messageSid = newSid('SM');
    const body = `${account}&MessageSid=${messageSid}&From=${from}&To=${encodeURIComponent(BUSINESS)}&Body=100%+%00+%F0%9F%94%A7+%zz+%ff+%`;
    expect((await post('sms-inbound', body)).status).toBe(200);
    const kept = await app.row<{ body: string }>('select body from telephony.messages where message_sid = $1', [
      messageSid,
    ]);
    expect(kept?.body).toBe('100% \ufffd 🔧 %zz \ufffd %');
    await app.twilio.messageTo('+14155550152');
  });

  it('may be as large as 64 KB, and no larger', async () => {
    const fill = (callSid: string, size: number) => {
      const start = ring(callSid, '&Filler=');
      return start + 'x'.repeat(size - start.length);
    };
    const [fits, tooLarge] = [newSid('CA'), newSid('CA')];
    expect((await post('voice', fill(fits, BODY_LIMIT))).status).toBe(200);
    const refusal = await post('voice', fill(tooLarge, BODY_LIMIT + 1));
    expect(refusal.status).toBe(413);
    expect(refusal.headers.get('content-type')).toContain('application/problem+json');
    expect(await refusal.json()).toMatchObject({ status: 413, code: 'http.413' });
    expect(await recorded(fits)).toBeDefined();
    expect(await recorded(tooLarge)).toBeUndefined();
  });

  it.each([
    ['voice', 'CallSid', `${account}&To=${encodeURIComponent(BUSINESS)}`],
    ['voice', 'To', `${account}&CallSid=${newSid('CA')}`],
    ['dial-result', 'DialCallStatus', ring(newSid('CA'))],
    ['voice-status', 'CallStatus', `${account}&CallSid=${newSid('CA')}&To=${encodeURIComponent(BUSINESS)}`],
    ['sms-inbound', 'MessageSid', `${account}&To=${encodeURIComponent(BUSINESS)}&Body=Hi`],
    ['sms-status', 'MessageStatus', `${account}&MessageSid=${newSid('SM')}`],
  ])('is malformed at %s without %s: 400, nothing written', async (path, name, body) => {
    const marker = randomUUID();
    const refusal = await post(path, `${body}&Marker=${marker}`);
    expect(refusal.status).toBe(400);
    expect(refusal.headers.get('content-type')).toContain('application/problem+json');
    expect(await refusal.json()).toMatchObject({
      status: 400,
      code: 'webhook.malformed',
      title: `Parameter ${name} is missing`,
    });
    expect(
      await app.row(`select 1 from telephony.webhook_events where parameters ->> 'Marker' = $1`, [marker]),
    ).toBeUndefined();
  });

  it.each(['application/json', 'text/plain', 'multipart/form-data; boundary=x', 'application/xml'])(
    'is not read as %s',
    async (type) => {
      const callSid = newSid('CA');
      const json = JSON.stringify(Object.fromEntries(new URLSearchParams(ring(callSid))));
      const refusal = await post('voice', type.includes('json') ? json : ring(callSid), { 'content-type': type });
      expect([403, 415]).toContain(refusal.status);
      expect(refusal.headers.get('content-type')).toContain('application/problem+json');
      expect(await recorded(callSid)).toBeUndefined();
    },
  );
});

describe('a webhook for a number that no tenant has', () => {
  it('is answered, sends nothing and warns once', async () => {
    const from = '+14155550153';
    const since = app.log.length;
    const sid = newSid('CA');
    const call = await app.twilio.placeCall({ from, to: NOBODYS, callSid: sid });
    expect([call.status, call.twiml]).toEqual([200, expect.stringContaining('<Hangup/>')]);
    await app.twilio.placeCall({ from, to: NOBODYS, callSid: sid });
    await outcome(from);
    const done = () => app.log.slice(since).filter(({ message }) => message === 'request completed');
    await eventually(() => done().length === 2, { label: 'both requests are logged' });
    const warnings = app.log.slice(since).filter(({ level }) => level === 'warn');
    expect(warnings).toEqual([expect.objectContaining({ message: 'webhook for a number that no tenant has' })]);
    expect(JSON.stringify(warnings)).not.toContain(NOBODYS.slice(1));
    expect(await outcome(from)).toEqual({ calls: 0, detected: 0, requested: 0, texts: 0 });
  });
});

describe('the correlation id', () => {
  it('is on every answer, whatever the answer', async () => {
    const big = ring(newSid('CA'), `&Filler=${'x'.repeat(BODY_LIMIT)}`);
    const answers = await Promise.all([
      post('voice', ring(newSid('CA'))),
      post('voice', account),
      post('voice', ring(newSid('CA')), { 'x-twilio-signature': 'forged' }),
      fetch(`${app.baseUrl}/webhooks/twilio/voice`),
      fetch(`${app.baseUrl}/nothing-here`),
      post('voice', big),
      post('voice', 'x', { 'content-type': 'text/plain' }),
      post('voice', 'x', { 'content-type': 'application/xml' }),
      post('voice', '{"a":', { 'content-type': 'application/json' }),
    ]);
    expect(answers.map(({ status }) => status)).toEqual([200, 400, 403, 404, 404, 413, 403, 415, 400]);
    const ids = answers.map(({ headers }) => headers.get('x-correlation-id'));
    for (const id of ids) expect(id).toMatch(UUID);
    expect(new Set(ids).size).toBe(ids.length);
    for (const [index, { status, headers }] of answers.entries()) {
      expect(headers.get('content-type')).toContain(status === 200 ? 'text/xml' : 'application/problem+json');
      if (status !== 200) expect(await answers[index]?.json()).toMatchObject({ status, correlation_id: ids[index] });
    }
  });

  it('is never the one that a stranger proposes', async () => {
    const proposed = '01890000-0000-7000-8000-000000000000';
    const callSid = newSid('CA');
    const answer = await post('voice', ring(callSid), { 'x-correlation-id': proposed, 'x-request-id': proposed });
    const [given, kept] = [answer.headers.get('x-correlation-id'), await recorded(callSid)];
    expect(answer.status).toBe(200);
    expect(given).not.toBe(proposed);
    expect(kept?.correlation_id).toBe(given);
    expect(await app.row('select 1 from infra.outbox_events where correlation_id = $1', [given])).toBeDefined();
    expect(await app.row('select 1 from infra.outbox_events where correlation_id = $1', [proposed])).toBeUndefined();
  });
});

import { once } from 'node:events';
import { createServer, type IncomingHttpHeaders, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import twilio from 'twilio';
import RequestClient from 'twilio/lib/base/RequestClient.js';
import type { CreateFault, FaultSpec } from './faults.js';
import { History } from './history.js';
import { TwilioSimulator } from './twilio-simulator.js';

const ACCOUNT = `AC${'a'.repeat(32)}`;
const SUBACCOUNT = `AC${'b'.repeat(32)}`;
const SERVICE = `MG${'c'.repeat(32)}`;
const TOKEN = 'main-token';
const BUSINESS = '+13035550100';
const CALLER = '+17205550123';

/** Twilio's own HTTP client, pointed elsewhere. */
class RedirectedClient extends RequestClient {
  constructor(
    private readonly baseUrl: string,
    timeout: number,
  ) {
    super({ timeout });
  }

  override request<T>(options: RequestClient.RequestOptions<T>) {
    return super.request<T>({ ...options, uri: options.uri.replace('https://api.twilio.com', this.baseUrl) });
  }
}

interface Hit {
  path: string;
  params: Record<string, string>;
  headers: IncomingHttpHeaders;
  genuine: boolean;
}

/** An application that records its webhooks and answers them from a script of statuses. */
class Receiver {
  readonly hits = new History<Hit>();
  statuses: number[] = [];
  silent = false;
  twiml = '<?xml version="1.0" encoding="UTF-8"?><Response><Say>Bye</Say><Hangup/></Response>';
  token = TOKEN;
  private readonly server: Server = createServer(async (request, response) => {
    let body = '';
    for await (const chunk of request) body += chunk;
    const params = Object.fromEntries(new URLSearchParams(body));
    const signature = String(request.headers['x-twilio-signature'] ?? '');
    const genuine = twilio.validateRequest(this.token, signature, this.url(request.url ?? ''), params);
    this.hits.append({ path: request.url ?? '', params, headers: request.headers, genuine });
    if (this.silent) return;
    response.writeHead(this.statuses.shift() ?? 200, { 'Content-Type': 'text/xml' }).end(this.twiml);
  });

  async start(): Promise<void> {
    await once(this.server.listen(0, '127.0.0.1'), 'listening');
  }

  async stop(): Promise<void> {
    this.hits.close();
    this.server.closeAllConnections();
    await once(this.server.close(), 'close');
  }

  url(path: string): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}${path}`;
  }
}

describe('the simulated Twilio', () => {
  let simulator: TwilioSimulator;
  let app: Receiver;

  const clientOf = (sid = ACCOUNT, token = TOKEN, timeout = 2_000, accountSid = sid) =>
    twilio(sid, token, { accountSid, httpClient: new RedirectedClient(simulator.baseUrl, timeout) });
  const send = (over: Record<string, unknown> = {}, timeout?: number) =>
    clientOf(ACCOUNT, TOKEN, timeout).messages.create({ to: CALLER, from: BUSINESS, body: 'Hi', ...over });
  const sendWithCallback = () => send({ statusCallback: app.url('/status?m=1&a=2') });

  beforeEach(async () => {
    app = new Receiver();
    await app.start();
    simulator = await TwilioSimulator.start({
      ...{ accountSid: ACCOUNT, authToken: TOKEN, deliveryDelayMs: 1, webhookRetryDelayMs: 1 },
      webhookBaseUrl: app.url(''),
    });
  });

  afterEach(async () => {
    await simulator.stop();
    await app.stop();
  });

  describe('creating a message', () => {
    it('answers the Message resource and keeps the message in the ledger', async () => {
      const message = await send({ validityPeriod: 300, statusCallback: app.url('/status') });
      expect(message).toMatchObject({ status: 'queued', to: CALLER, from: BUSINESS, body: 'Hi', numSegments: '1' });
      expect(message.sid).toMatch(/^SM[0-9a-f]{32}$/);
      expect(message).toMatchObject({
        direction: 'outbound-api',
        accountSid: ACCOUNT,
        errorCode: null,
        dateSent: null,
      });
      expect(Math.abs(message.dateCreated.getTime() - Date.now())).toBeLessThan(5_000);
      expect(message.uri).toBe(`/2010-04-01/Accounts/${ACCOUNT}/Messages/${message.sid}.json`);
      const [kept] = simulator.ledger.messagesTo(CALLER);
      expect(await simulator.messageTo(CALLER)).toBe(kept);
      expect(kept).toMatchObject({ sid: message.sid, params: { ValidityPeriod: '300', Body: 'Hi' } });
      expect(simulator.ledger.requests).toMatchObject([{ accepted: true, status: 201, sid: message.sid }]);
    });

    it('accepts a message of a Messaging Service and chooses its sender later', async () => {
      simulator.messagingService(SERVICE, [BUSINESS]);
      const message = await send({ from: undefined, messagingServiceSid: SERVICE });
      expect(message).toMatchObject({ status: 'accepted', from: null, numSegments: '0' });
      await simulator.reached(message.sid, 'delivered');
      const fetched = await clientOf().messages(message.sid).fetch();
      expect(fetched).toMatchObject({ status: 'delivered', from: BUSINESS, numSegments: '1' });
      expect(fetched.dateSent).toBeInstanceOf(Date);
    });

    it.each([
      [21604, { to: '' }],
      [21603, { from: undefined }],
      [21602, { body: undefined }],
      [21211, { to: '+123' }],
      [21211, { to: '+266696687x' }],
      [21617, { body: 'x'.repeat(1_601) }],
      [21609, { statusCallback: 'nowhere' }],
    ])('refuses with %i', async (code, over) => {
      await expect(send(over)).rejects.toMatchObject({
        ...{ status: 400, code },
        moreInfo: `https://www.twilio.com/docs/errors/${code}`,
      });
      expect(simulator.ledger.messages).toHaveLength(0);
      expect(simulator.ledger.requests).toMatchObject([{ accepted: false, status: 400, code }]);
    });

    it('refuses a recipient who opted out of the sender, and no other', async () => {
      simulator.optOut(CALLER, BUSINESS);
      await expect(send()).rejects.toMatchObject({ code: 21610 });
      await expect(send({ from: '+13035550199' })).resolves.toMatchObject({ status: 'queued' });
      simulator.optIn(CALLER, BUSINESS);
      await expect(send()).resolves.toMatchObject({ status: 'queued' });
    });

    it('answers 413 to an oversized body', async () => {
      const request = send({ body: 'x'.repeat(70_000) });
      await expect(request).rejects.toMatchObject({ status: 413 });
    });
  });

  describe('credentials', () => {
    it('refuses a wrong token, a missing one and a foreign account with 20003', async () => {
      simulator.addAccount(SUBACCOUNT, 'sub-token');
      const wrong = { status: 401, code: 20003, message: 'Authenticate' };
      await expect(clientOf(ACCOUNT, 'guess').messages.list()).rejects.toMatchObject(wrong);
      await expect(clientOf(SUBACCOUNT, 'sub-token', 2_000, ACCOUNT).messages.list()).rejects.toMatchObject(wrong);
      expect((await fetch(`${simulator.baseUrl}/2010-04-01/Accounts/${ACCOUNT}/Messages.json`)).status).toBe(401);
    });

    it('keeps the messages of a subaccount apart and signs with its token', async () => {
      simulator.addAccount(SUBACCOUNT, 'sub-token');
      app.token = 'sub-token';
      const client = clientOf(SUBACCOUNT, 'sub-token');
      const statusCallback = app.url('/status');
      const { sid } = await client.messages.create({ to: CALLER, from: BUSINESS, body: 'Hi', statusCallback });
      await simulator.callbackFor(sid, 'delivered');
      expect(app.hits.items.every(({ genuine }) => genuine)).toBe(true);
      expect(await clientOf().messages.list()).toEqual([]);
      await expect(clientOf().messages(sid).fetch()).rejects.toMatchObject({ code: 20404 });
      const asParent = clientOf(ACCOUNT, TOKEN, 2_000, SUBACCOUNT);
      expect(await asParent.messages.list()).toMatchObject([{ sid }]);
    });
  });

  describe('reading messages', () => {
    it('answers 20404 for a message that does not exist', async () => {
      const missing = clientOf()
        .messages(`SM${'0'.repeat(32)}`)
        .fetch();
      await expect(missing).rejects.toMatchObject({ status: 404, code: 20404 });
    });

    it('lists newest first, by recipient and sender, page by page', async () => {
      for (const body of ['1', '2', '3', '4', '5']) await send({ body });
      await send({ to: '+17205550124' });
      const client = clientOf();
      const filter = { to: CALLER, from: BUSINESS };
      const all = await client.messages.list({ ...filter, pageSize: 2 });
      expect(all.map(({ body }) => body)).toEqual(['5', '4', '3', '2', '1']);
      expect(await client.messages.list({ limit: 4 })).toHaveLength(4);
      const first = await client.messages.page({ ...filter, pageSize: 2 });
      await send({ body: '6' });
      const second = await first.nextPage();
      expect(second?.instances.map(({ body }) => body)).toEqual(['3', '2']);
      expect((await second?.previousPage())?.instances.map(({ body }) => body)).toEqual(['5', '4']);
      expect(first.previousPageUrl).toBeUndefined();
      expect((await client.messages.page({ pageNumber: 1, pageSize: 6 })).instances).toHaveLength(1);
    });

    it('finds no queued message by the date of sending', async () => {
      simulator.outcome(CALLER, { status: 'queued' });
      await send();
      const sent = await send({ to: '+17205550124' });
      await simulator.reached(sent.sid, 'sent');
      const client = clientOf();
      const today = new Date();
      expect(await client.messages.list({ dateSentAfter: new Date(today.getTime() - 60_000) })).toHaveLength(1);
      expect(await client.messages.list({ dateSentBefore: new Date(today.getTime() - 60_000) })).toHaveLength(0);
      expect(await client.messages.list()).toHaveLength(2);
    });

    it('shows an accepted message in the list only after a while, but fetches it', async () => {
      await simulator.stop();
      const options = { accountSid: ACCOUNT, authToken: TOKEN, listVisibilityMs: 60_000, clockOffsetMs: 3_600_000 };
      simulator = await TwilioSimulator.start(options);
      const { sid, dateCreated } = await send();
      expect(await clientOf().messages.list()).toEqual([]);
      expect(await clientOf().messages(sid).fetch()).toMatchObject({ sid });
      expect(dateCreated.getTime()).toBeGreaterThan(Date.now() + 3_500_000);
    });

    it('plays faults of a list', async () => {
      await send();
      simulator.faults.nextList('status_503').nextList('empty').nextList('reset');
      const list = () => clientOf().messages.list();
      await expect(list()).rejects.toMatchObject({ status: 503 });
      await expect(list()).resolves.toEqual([]);
      await expect(list()).rejects.toMatchObject({ code: 'ECONNRESET' });
      await expect(list()).resolves.toHaveLength(1);
    });
  });

  describe('faults of a create', () => {
    const cases: [FaultSpec<CreateFault>, accepted: boolean, status: number | null, seen: object][] = [
      ['hang', false, null, { code: 'ECONNABORTED' }],
      ['hang_accepted', true, null, { code: 'ECONNABORTED' }],
      ['reset', false, null, { code: 'ECONNRESET' }],
      ['lost_response', true, null, { code: 'ECONNRESET' }],
      ['truncated', true, 201, { message: expect.stringMatching(/aborted|ECONNRESET|JSON/) }],
      ['garbage', true, 201, { message: expect.stringContaining('JSON') }],
      ['status_500', false, 500, { status: 500, code: 20500 }],
      ['status_500_accepted', true, 500, { status: 500, code: 20500 }],
      ['status_503', false, 503, { status: 503 }],
      [{ kind: 'status_429', retryAfterSeconds: 2 }, false, 429, { status: 429, code: 20429 }],
      [{ kind: 'reject', status: 400, code: 21606 }, false, 400, { status: 400, code: 21606 }],
    ];

    it.each(cases)('%j', async (fault, accepted, status, seen) => {
      simulator.faults.next(fault);
      const created = simulator.nextCreate();
      const kind = typeof fault === 'string' ? fault : fault.kind;
      await expect(send({}, kind.startsWith('hang') ? 400 : 5_000)).rejects.toMatchObject(seen);
      expect(await created).toMatchObject({ accepted, status, fault: kind });
      expect(simulator.ledger.messagesTo(CALLER)).toHaveLength(accepted ? 1 : 0);
      await expect(send()).resolves.toMatchObject({ status: 'queued' });
    });

    it('delays an answer', async () => {
      simulator.faults.next({ kind: 'latency', ms: 60 });
      const start = performance.now();
      await send();
      expect(performance.now() - start).toBeGreaterThanOrEqual(55);
    });

    it('says how long to back off', async () => {
      simulator.faults.next({ kind: 'status_429', retryAfterSeconds: 2 });
      const response = await fetch(`${simulator.baseUrl}/2010-04-01/Accounts/${ACCOUNT}/Messages.json`, {
        method: 'POST',
        headers: { Authorization: `Basic ${btoa(`${ACCOUNT}:${TOKEN}`)}` },
      });
      expect(response.headers.get('retry-after')).toBe('2');
      expect(await response.json()).toMatchObject({ code: 20429, status: 429 });
    });

    it('applies in order, per destination, or until cleared', async () => {
      simulator.faults.next('status_503', { to: '+17205550124' }).next('status_500').always('status_429');
      await expect(send()).rejects.toMatchObject({ status: 500 });
      await expect(send()).rejects.toMatchObject({ status: 429 });
      await expect(send({ to: '+17205550124' })).rejects.toMatchObject({ status: 503 });
      simulator.faults.clear();
      await expect(send()).resolves.toMatchObject({ status: 'queued' });
    });
  });

  describe('status callbacks', () => {
    it('posts sent and delivered, signed, and nothing for the initial status', async () => {
      const { sid } = await sendWithCallback();
      await simulator.callbackFor(sid, 'delivered');
      expect(app.hits.items.map(({ params }) => params['MessageStatus'])).toEqual(['sent', 'delivered']);
      const [sent, delivered] = app.hits.items;
      expect(sent).toMatchObject({ genuine: true, path: '/status?m=1&a=2' });
      expect(sent?.params).toMatchObject({ MessageSid: sid, SmsSid: sid, To: CALLER, From: BUSINESS });
      expect(sent?.headers).toMatchObject({
        'content-type': 'application/x-www-form-urlencoded; charset=UTF-8',
        'user-agent': 'TwilioProxy/1.1',
      });
      expect(delivered?.params['RawDlrDoneDate']).toMatch(/^\d{10}$/);
      expect(sent?.headers['i-twilio-idempotency-token']).not.toBe(delivered?.headers['i-twilio-idempotency-token']);
    });

    it('ends as the destination is told to', async () => {
      simulator.outcome(CALLER, { status: 'undelivered', errorCode: 30003 });
      const { sid } = await sendWithCallback();
      const { result } = await simulator.callbackFor(sid, 'undelivered');
      expect(result?.params).toMatchObject({ MessageStatus: 'undelivered', ErrorCode: '30003' });
      expect(await clientOf().messages(sid).fetch()).toMatchObject({ status: 'undelivered', errorCode: 30003 });
    });

    it('duplicates, reorders and drops', async () => {
      simulator.faults.nextCallback('duplicate').nextCallback('reorder');
      simulator.faults.nextCallback({ kind: 'drop', statuses: ['delivered'] });
      const statuses = () => app.hits.items.map(({ params }) => params['MessageStatus']);
      await simulator.callbackFor((await sendWithCallback()).sid, 'delivered');
      await app.hits.waitFor('second delivered', () => statuses().length === 4);
      expect(statuses()).toEqual(['sent', 'sent', 'delivered', 'delivered']);
      const tokens = app.hits.items.map(({ headers }) => headers['i-twilio-idempotency-token']);
      expect(new Set(tokens).size).toBe(2);
      await simulator.callbackFor((await sendWithCallback()).sid, 'sent');
      expect(statuses().slice(4)).toEqual(['delivered', 'sent']);
      const dropped = await simulator.callbackFor((await sendWithCallback()).sid, 'delivered');
      expect(dropped.result).toBeNull();
      expect(statuses().slice(6)).toEqual(['sent']);
    });

    it('calls back before the create is answered', async () => {
      await simulator.stop();
      simulator = await TwilioSimulator.start({ accountSid: ACCOUNT, authToken: TOKEN, deliveryDelayMs: 60_000 });
      simulator.faults.nextCallback('early');
      const { sid } = await sendWithCallback();
      expect(app.hits.items).toMatchObject([{ params: { MessageSid: sid, MessageStatus: 'sent' } }]);
      await sendWithCallback();
      expect(app.hits.items).toHaveLength(1);
    });

    it('records the failure when nobody listens', async () => {
      const { sid } = await send({ statusCallback: 'http://127.0.0.1:1/status' });
      const { result } = await simulator.callbackFor(sid, 'delivered');
      expect(result).toMatchObject({ status: 0, attempts: 2, error: expect.stringContaining('ECONNREFUSED') });
      expect(simulator.callbacks).toHaveLength(2);
    });

    it('carries many deliveries at once', async () => {
      const warnings: Error[] = [];
      const listener = (warning: Error) => warnings.push(warning);
      process.on('warning', listener);
      const sent = await Promise.all(Array.from({ length: 30 }, () => sendWithCallback()));
      await Promise.all(sent.map(({ sid }) => simulator.callbackFor(sid, 'delivered')));
      process.off('warning', listener);
      expect(warnings).toEqual([]);
      expect(app.hits.items).toHaveLength(60);
    });

    it('retries as the fragment of the URL says, with the same token, and signs without the fragment', async () => {
      app.statuses = [500, 503];
      const { sid } = await send({ statusCallback: app.url('/status?x=1#rc=3&rp=all') });
      const { result } = await simulator.callbackFor(sid, 'sent');
      expect(result).toMatchObject({ status: 200, attempts: 3 });
      const [first, second, third] = app.hits.items;
      expect(new Set([first, second, third].map((hit) => hit?.headers['i-twilio-idempotency-token'])).size).toBe(1);
      expect(app.hits.items.every(({ genuine }) => genuine)).toBe(true);
    });
  });

  describe('calls and incoming texts', () => {
    const call = { from: CALLER, to: BUSINESS };

    it('posts a ringing call and returns the TwiML', async () => {
      const result = await simulator.placeCall({
        ...call,
        forwardedFrom: '+13035550188',
        extra: { CallerName: 'A&B +' },
      });
      expect(result).toMatchObject({
        status: 200,
        twiml: app.twiml,
        callSid: expect.stringMatching(/^CA[0-9a-f]{32}$/),
      });
      const [hit] = app.hits.items;
      expect(hit).toMatchObject({ path: '/webhooks/twilio/voice', genuine: true });
      expect(hit?.params).toMatchObject({
        ...{ CallSid: result.callSid, AccountSid: ACCOUNT, CallStatus: 'ringing', Direction: 'inbound' },
        ...{ From: CALLER, Caller: CALLER, To: BUSINESS, Called: BUSINESS, CallerName: 'A&B +' },
        ...{ ForwardedFrom: '+13035550188', FromCity: 'DENVER', CalledCountry: 'US', ApiVersion: '2010-04-01' },
      });
    });

    it('plays a dialled call to its end', async () => {
      app.twiml = '<Response><Dial action="/webhooks/twilio/dial-result?c=1&amp;d=2" timeout="18">x</Dial></Response>';
      const played = await simulator.playCall({ ...call, dial: { status: 'no-answer' } });
      expect(played).toMatchObject({ verb: 'Dial', dialResult: { status: 200 }, voiceStatus: { status: 200 } });
      const [, dial, status] = app.hits.items;
      expect(dial).toMatchObject({ path: '/webhooks/twilio/dial-result?c=1&d=2', genuine: true });
      expect(dial?.params).toMatchObject({
        CallSid: played.callSid,
        DialCallStatus: 'no-answer',
        DialBridged: 'false',
      });
      expect(status?.params).toMatchObject({ CallSid: played.callSid, CallStatus: 'completed', CallDuration: '30' });
    });

    it('plays a call that is only spoken to', async () => {
      const played = await simulator.playCall(call);
      expect(played).toMatchObject({ verb: 'Say', dialResult: null });
      expect(app.hits.items.map(({ path }) => path)).toEqual([
        '/webhooks/twilio/voice',
        '/webhooks/twilio/voice-status',
      ]);
    });

    it('delivers a text and shows it in the list', async () => {
      const { messageSid } = await simulator.inboundSms({ ...call, body: 'Tue 2pm ÷ 😀' });
      const [hit] = app.hits.items;
      expect(hit).toMatchObject({ path: '/webhooks/twilio/sms-inbound', genuine: true });
      expect(hit?.params).toMatchObject({
        ...{ MessageSid: messageSid, SmsSid: messageSid, SmsMessageSid: messageSid, SmsStatus: 'received' },
        ...{ Body: 'Tue 2pm ÷ 😀', NumMedia: '0', NumSegments: '1' },
      });
      const listed = await clientOf().messages.list({ to: BUSINESS });
      expect(listed).toMatchObject([{ sid: messageSid, direction: 'inbound', status: 'received' }]);
    });

    it('opts out and in by keyword when told to', async () => {
      await simulator.inboundSms({ ...call, body: 'STOP' });
      await expect(send()).resolves.toMatchObject({ status: 'queued' });
      await simulator.stop();
      const options = { accountSid: ACCOUNT, authToken: TOKEN, optOutKeywords: true, webhookBaseUrl: app.url('') };
      simulator = await TwilioSimulator.start(options);
      await simulator.inboundSms({ ...call, body: ' stop ' });
      await expect(send()).rejects.toMatchObject({ code: 21610 });
      await simulator.inboundSms({ ...call, body: 'Start' });
      await expect(send()).resolves.toMatchObject({ status: 'queued' });
    });

    it('forges a signature, or leaves it out', async () => {
      await simulator.signedPost(app.url('/x'), { A: '1' }, { forge: true });
      await simulator.signedPost(app.url('/x'), { A: '1' }, { forge: 'missing' });
      await simulator.signedPost(app.url('/x'), { A: '1' });
      expect(app.hits.items.map(({ genuine }) => genuine)).toEqual([false, false, true]);
      expect(app.hits.items[1]?.headers).not.toHaveProperty('x-twilio-signature');
    });

    it('retries a call webhook on 5xx only when asked to', async () => {
      app.statuses = [503];
      expect(await simulator.placeCall(call)).toMatchObject({ status: 503, attempts: 1 });
      app.statuses = [503];
      expect(await simulator.placeCall({ ...call, withRetries: 2 })).toMatchObject({ status: 200, attempts: 2 });
    });

    it('reaches a public URL at another place and signs the public one', async () => {
      simulator.route('https://app.example', app.url(''));
      const result = await simulator.placeCall({ ...call, webhookBaseUrl: 'https://app.example' });
      const [hit] = app.hits.items;
      expect(result).toMatchObject({ status: 200, url: 'https://app.example/webhooks/twilio/voice' });
      expect(hit?.headers.host).toBe('app.example');
      const signature = String(hit?.headers['x-twilio-signature']);
      expect(twilio.validateRequest(TOKEN, signature, result.url, hit?.params ?? {})).toBe(true);
    });
  });

  describe('stopping', () => {
    it('cuts off a callback that is not being answered', async () => {
      app.silent = true;
      await sendWithCallback();
      await app.hits.waitFor('callback', () => true);
      await simulator.stop();
      expect(simulator.callbacks[0]?.result).toMatchObject({ status: 0, error: expect.stringContaining('aborted') });
    });

    it('ends what is under way and refuses open waits', async () => {
      simulator.faults.next('hang');
      const created = simulator.nextCreate();
      const sending = expect(send()).rejects.toMatchObject({ code: 'ECONNRESET' });
      await created;
      const waiting = expect(simulator.messageTo(CALLER, 2)).rejects.toThrow('stopped');
      await simulator.stop();
      await Promise.all([sending, waiting]);
      await expect(simulator.messageTo(CALLER)).rejects.toThrow('Stopped');
    });
  });
});

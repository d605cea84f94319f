import { createHash, timingSafeEqual } from 'node:crypto';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import {
  type CallOptions,
  type CallResult,
  Calls,
  type DialResultOptions,
  type InboundSmsOptions,
  type PlayCallOptions,
  type PlayedCall,
  type SmsResult,
  type VoiceStatusOptions,
} from './calls.js';
import { type CallbackRecord, Delivery, type DeliveryOutcome } from './delivery.js';
import { Exchange, notFound } from './exchange.js';
import { Faults } from './faults.js';
import { type CreateRequest, Ledger, type MessageStatus, type SimulatedMessage, type StatusChange } from './ledger.js';
import { MessagesApi } from './messages.api.js';
import { OptOuts } from './opt-outs.js';
import { Timers } from './timers.js';
import { type PostOptions, type WebhookResult, WebhookSender } from './webhooks.js';

export interface TwilioSimulatorOptions {
  accountSid: string;
  authToken: string;
  /** Port to listen on; 0 takes a free one (0). */
  port?: number;
  host?: string;
  /** Where calls and texts are announced unless a call says otherwise: the application's public base URL. */
  webhookBaseUrl?: string;
  /** Milliseconds between two statuses of a message (20). */
  deliveryDelayMs?: number;
  /** Milliseconds until the list shows an accepted message (0). */
  listVisibilityMs?: number;
  /** Milliseconds between two attempts of a webhook (100). */
  webhookRetryDelayMs?: number;
  /** How far the provider's clock is ahead of ours, in milliseconds (0). */
  clockOffsetMs?: number;
  /** Statuses that are called back; the initial one never is (`sent`, `delivered`, `undelivered`, `failed`). */
  callbackStatuses?: readonly MessageStatus[];
  /** The sender of a message whose Messaging Service has no pool here. */
  defaultSender?: string;
  /** Opts callers out and in by the default keywords in their texts, as a number does without Advanced Opt-Out (false). */
  optOutKeywords?: boolean;
}

const STOP_WORDS = new Set(['STOP', 'STOPALL', 'UNSUBSCRIBE', 'CANCEL', 'END', 'QUIT', 'REVOKE', 'OPTOUT']);
const START_WORDS = new Set(['START', 'YES', 'UNSTOP']);

/**
 * Twilio's Messages API and webhooks on a local port, near enough that Twilio's own SDK cannot tell.
 *
 * Used by the demo, by development without an account and by the end-to-end tests. What it accepted is in the ledger,
 * what shall go wrong is scripted in `faults`, and whatever it does can be awaited.
 */
export class TwilioSimulator {
  readonly ledger = new Ledger();
  readonly faults = new Faults();
  private readonly optOuts = new OptOuts();
  private readonly timers = new Timers();
  private readonly accounts = new Map<string, string>();
  private readonly pools = new Map<string, readonly string[]>();
  private readonly webhooks: WebhookSender;
  private readonly delivery: Delivery;
  private readonly calls: Calls;
  private readonly api: MessagesApi;
  private readonly server: Server;

  private readonly options: TwilioSimulatorOptions;

  private constructor(options: TwilioSimulatorOptions) {
    this.options = { ...options };
    const { ledger, faults, optOuts, timers } = this;
    const now = () => new Date(Date.now() + (options.clockOffsetMs ?? 0));
    this.addAccount(options.accountSid, options.authToken);
    this.webhooks = new WebhookSender((sid) => this.tokenOf(sid), timers, now, options.webhookRetryDelayMs ?? 100);
    this.delivery = new Delivery({
      ...{ ledger, faults, timers, now, webhooks: this.webhooks },
      stepMs: options.deliveryDelayMs ?? 20,
      callbackStatuses: new Set(options.callbackStatuses ?? ['sent', 'delivered', 'undelivered', 'failed']),
      senderOf: (message) => this.senderOf(message),
    });
    this.calls = new Calls(this.webhooks, ledger, this.options, now);
    this.api = new MessagesApi({
      ...{ ledger, faults, optOuts, timers, now, delivery: this.delivery },
      listVisibilityMs: options.listVisibilityMs ?? 0,
    });
    this.server = createServer((request, response) => {
      response.on('error', () => undefined);
      const exchange = new Exchange(request, response, timers, now);
      this.dispatch(exchange).catch(() => exchange.drop());
    });
  }

  /** Starts listening; nothing is left running after `stop()`. */
  static async start(options: TwilioSimulatorOptions): Promise<TwilioSimulator> {
    const simulator = new TwilioSimulator(options);
    await new Promise<void>((resolve, reject) => {
      simulator.server.once('error', reject);
      simulator.server.listen(options.port ?? 0, options.host ?? '127.0.0.1', resolve);
    });
    return simulator;
  }

  /** Closes every connection, cancels every timer and delivery, and refuses every open wait. */
  async stop(): Promise<void> {
    this.timers.stop();
    this.webhooks.stop();
    const closed = new Promise<void>((resolve) => this.server.close(() => resolve()));
    this.server.closeAllConnections();
    await closed;
    await this.delivery.settled();
    this.delivery.callbacks.close();
    this.ledger.close();
  }

  /** Where the REST API is reached, in place of `https://api.twilio.com`. */
  get baseUrl(): string {
    const { address, port, family } = this.server.address() as AddressInfo;
    return `http://${family === 'IPv6' ? `[${address}]` : address}:${port}`;
  }

  /** Sets where calls and texts are announced, once the application listens. */
  set webhookBaseUrl(url: string) {
    this.options.webhookBaseUrl = url;
  }

  /** Every status callback with its result; those that a fault dropped have none. */
  get callbacks(): readonly CallbackRecord[] {
    return this.delivery.callbacks.items;
  }

  /** Adds a subaccount, or gives an account a new token. */
  addAccount(accountSid: string, authToken: string): void {
    this.accounts.set(accountSid, authToken);
  }

  /** Gives a Messaging Service its sender pool; a recipient always gets the same sender of it. */
  messagingService(sid: string, senders: readonly string[]): void {
    this.pools.set(sid, senders);
  }

  /** Refuses texts to this number with 21610 from now on, from one sender or from all. */
  optOut(to: string, sender?: string): void {
    this.optOuts.add(to, sender);
  }

  optIn(to: string, sender?: string): void {
    this.optOuts.remove(to, sender);
  }

  /** Decides how every later message to this number ends; without an outcome it is delivered again. */
  outcome(to: string, outcome?: DeliveryOutcome): void {
    this.delivery.outcome(to, outcome);
  }

  /** Reaches a public origin at another one, as a tunnel would; signatures stay those of the public URL. */
  route(publicOrigin: string, reachableOrigin: string): void {
    this.webhooks.route(publicOrigin, reachableOrigin);
  }

  placeCall(options: CallOptions): Promise<CallResult> {
    return this.calls.placeCall(options);
  }

  dialResult(options: DialResultOptions): Promise<CallResult> {
    return this.calls.dialResult(options);
  }

  voiceStatus(options: VoiceStatusOptions): Promise<CallResult> {
    return this.calls.voiceStatus(options);
  }

  playCall(options: PlayCallOptions): Promise<PlayedCall> {
    return this.calls.playCall(options);
  }

  inboundSms(options: InboundSmsOptions): Promise<SmsResult> {
    const word = options.body.trim().toUpperCase();
    const sender = options.messagingServiceSid ?? options.to;
    if (this.options.optOutKeywords && STOP_WORDS.has(word)) this.optOut(options.from, sender);
    if (this.options.optOutKeywords && START_WORDS.has(word)) this.optIn(options.from, sender);
    return this.calls.inboundSms(options);
  }

  /** Posts anything, signed as Twilio signs it, or forged. */
  signedPost(url: string, params: Record<string, string>, options?: PostOptions): Promise<WebhookResult> {
    return this.webhooks.post(url, params, options);
  }

  /** The next create request from now on, whatever becomes of it. */
  nextCreate(deadlineMs?: number): Promise<CreateRequest> {
    const { created } = this.ledger;
    return created.waitFor('create request', () => true, deadlineMs, created.items.length);
  }

  /** The n-th message accepted for a number (1), which may be there already. */
  messageTo(phone: string, nth = 1, deadlineMs?: number): Promise<SimulatedMessage> {
    const reached = () => this.ledger.messagesTo(phone)[nth - 1];
    return this.ledger.accepted.waitFor(`message ${nth} to the number`, (message) => message === reached(), deadlineMs);
  }

  /** When the message reached a status, whether or not that was called back. */
  reached(sid: string, status: MessageStatus, deadlineMs?: number): Promise<StatusChange> {
    const matches = (change: StatusChange) => change.sid === sid && change.status === status;
    return this.ledger.changes.waitFor(`status ${status}`, matches, deadlineMs);
  }

  /** The callback of a status after it was answered, failed or dropped. */
  callbackFor(sid: string, status: MessageStatus, deadlineMs?: number): Promise<CallbackRecord> {
    const matches = (record: CallbackRecord) => record.sid === sid && record.status === status;
    return this.delivery.callbacks.waitFor(`callback ${status}`, matches, deadlineMs);
  }

  private async dispatch(exchange: Exchange): Promise<void> {
    const { pathname } = exchange.url;
    const route = /^\/2010-04-01\/Accounts\/([^/]+)\/Messages(?:\/([^/]+))?\.json$/.exec(pathname);
    const accountSid = route?.[1] ?? '';
    if (!this.isAuthorized(exchange, accountSid)) {
      return exchange.problem({ status: 401, code: 20003, message: 'Authenticate' });
    }
    if (route === null || !this.accounts.has(accountSid)) return exchange.problem(notFound(pathname));
    const sid = route[2];
    if (exchange.method === 'POST' && sid === undefined) return this.api.create(exchange, accountSid);
    if (exchange.method === 'GET' && sid !== undefined) return this.api.fetch(exchange, accountSid, sid);
    if (exchange.method === 'GET') return this.api.list(exchange, accountSid);
    exchange.problem({ status: 405, code: 20004, message: 'Method not allowed' });
  }

  /** An account may act for itself, the main account also for its subaccounts. */
  private isAuthorized({ credentials }: Exchange, accountSid: string): boolean {
    if (credentials === null) return false;
    const token = this.accounts.get(credentials.user);
    const digest = (text: string) => createHash('sha256').update(text).digest();
    const isGenuine = timingSafeEqual(digest(credentials.password), digest(token ?? '')) && token !== undefined;
    return isGenuine && (credentials.user === accountSid || credentials.user === this.options.accountSid);
  }

  private tokenOf(accountSid = this.options.accountSid): string {
    const token = this.accounts.get(accountSid);
    if (token === undefined) throw new Error('The account is not known to the simulator; add it first');
    return token;
  }

  private senderOf({ messagingServiceSid, to }: SimulatedMessage): string {
    const pool = this.pools.get(messagingServiceSid ?? '') ?? [];
    const index = Number(to.slice(-4)) % Math.max(pool.length, 1);
    return pool[index] ?? this.options.defaultSender ?? '+15005550006';
  }
}

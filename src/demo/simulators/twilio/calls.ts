import { type Ledger, newSid } from './ledger.js';
import { API_VERSION, countSegments, rfc2822 } from './message.resource.js';
import { firstVerb, type TwimlVerb } from './twiml.js';
import type { PostOptions, WebhookResult, WebhookSender } from './webhooks.js';

export type DialCallStatus = 'completed' | 'answered' | 'busy' | 'no-answer' | 'failed' | 'canceled';
export type FinalCallStatus = 'completed' | 'busy' | 'no-answer' | 'failed' | 'canceled';

/** Options of every simulated webhook. `extra` adds parameters, or replaces those that Twilio would send. */
export interface WebhookCall extends Omit<PostOptions, 'headers'> {
  /** Where the application is reached; the base URL given at the start by default. */
  webhookBaseUrl?: string;
  extra?: Record<string, string>;
}

export interface CallOptions extends WebhookCall {
  from: string;
  to: string;
  callSid?: string;
  forwardedFrom?: string;
}

export interface DialResultOptions extends CallOptions {
  callSid: string;
  dialCallStatus: DialCallStatus;
  /** Seconds; only meaningful when somebody answered. */
  dialCallDuration?: number;
  /** The action URL of the `<Dial>`, when it is not the usual one. */
  actionUrl?: string;
}

export interface VoiceStatusOptions extends CallOptions {
  callSid: string;
  callStatus: FinalCallStatus;
  /** Seconds. */
  callDuration?: number;
}

export interface InboundSmsOptions extends WebhookCall {
  from: string;
  to: string;
  body: string;
  messageSid?: string;
  messagingServiceSid?: string;
  mediaUrls?: readonly string[];
}

/** A posted call webhook. `status` is 0 when the application did not answer; `error` then says why. */
export interface CallResult extends WebhookResult {
  readonly callSid: string;
  readonly twiml: string;
}

export interface SmsResult extends WebhookResult {
  readonly messageSid: string;
}

export interface PlayCallOptions extends CallOptions {
  /** What comes of a `<Dial>` (`no-answer`). */
  dial?: { status: DialCallStatus; duration?: number };
  /** How the caller's own leg ends (`completed`; `canceled` when the dial was). */
  callStatus?: FinalCallStatus;
  callDuration?: number;
}

/** A call from ringing to its end: each webhook in order, those not needed null. */
export interface PlayedCall {
  readonly callSid: string;
  readonly verb: TwimlVerb['name'] | null;
  readonly voice: CallResult;
  readonly dialResult: CallResult | null;
  readonly voiceStatus: CallResult | null;
}

const PLACES: Readonly<Record<string, readonly [city: string, state: string, zip: string]>> = {
  212: ['NEW YORK', 'NY', '10001'],
  303: ['DENVER', 'CO', '80202'],
  312: ['CHICAGO', 'IL', '60601'],
  415: ['SAN FRANCISCO', 'CA', '94102'],
  512: ['AUSTIN', 'TX', '78701'],
  602: ['PHOENIX', 'AZ', '85003'],
  720: ['DENVER', 'CO', '80202'],
};

/** The webhooks of calls and of incoming texts, with the parameters that Twilio posts. */
export class Calls {
  constructor(
    private readonly webhooks: WebhookSender,
    private readonly ledger: Ledger,
    private readonly defaults: { readonly accountSid: string; readonly webhookBaseUrl?: string },
    private readonly now: () => Date,
  ) {}

  async placeCall(options: CallOptions): Promise<CallResult> {
    return this.postCall('/webhooks/twilio/voice', options, {
      CallStatus: 'ringing',
      CallToken: '{"parentCallInfoToken":"eyJhbGciOiJFUzI1NiJ9.eyJpYXQiOiIwIn0.c2ltdWxhdGVk"}',
      StirVerstat: 'TN-Validation-Passed-A',
    });
  }

  /** What Twilio posts to the action URL of a `<Dial>` when the dialled party is done. */
  async dialResult(options: DialResultOptions): Promise<CallResult> {
    const bridged = options.dialCallStatus === 'completed' || options.dialCallStatus === 'answered';
    const params: Record<string, string> = {
      CallStatus: options.dialCallStatus === 'canceled' ? 'completed' : 'in-progress',
      DialCallStatus: options.dialCallStatus,
      DialCallSid: newSid('CA'),
      DialBridged: String(bridged),
    };
    if (bridged) params['DialCallDuration'] = String(options.dialCallDuration ?? 30);
    return this.postCall(options.actionUrl ?? '/webhooks/twilio/dial-result', options, params);
  }

  /** The status callback of the called number, at the end of the call. */
  async voiceStatus(options: VoiceStatusOptions): Promise<CallResult> {
    const seconds = options.callDuration ?? (options.callStatus === 'completed' ? 30 : 0);
    return this.postCall('/webhooks/twilio/voice-status', options, {
      CallStatus: options.callStatus,
      CallDuration: String(seconds),
      Duration: String(Math.ceil(seconds / 60)),
      Timestamp: rfc2822(this.now()),
      CallbackSource: 'call-progress-events',
      SequenceNumber: '0',
    });
  }

  async inboundSms(options: InboundSmsOptions): Promise<SmsResult> {
    const { from, to, body, mediaUrls = [] } = options;
    const messageSid = options.messageSid ?? newSid(mediaUrls.length > 0 ? 'MM' : 'SM');
    const accountSid = options.accountSid ?? this.defaults.accountSid;
    const segments = countSegments(body);
    const params: Record<string, string> = {
      ...place('To', to),
      ...place('From', from),
      ...{ SmsMessageSid: messageSid, SmsSid: messageSid, MessageSid: messageSid, SmsStatus: 'received' },
      ...{ AccountSid: accountSid, ApiVersion: API_VERSION, From: from, To: to, Body: body },
      NumMedia: String(mediaUrls.length),
      NumSegments: String(segments),
    };
    for (const [index, url] of mediaUrls.entries()) {
      params[`MediaUrl${index}`] = url;
      params[`MediaContentType${index}`] = 'image/jpeg';
    }
    if (options.messagingServiceSid !== undefined) params['MessagingServiceSid'] = options.messagingServiceSid;
    if (this.ledger.find(messageSid) === undefined) {
      const at = this.now();
      this.ledger.receive({
        ...{ sid: messageSid, accountSid, direction: 'inbound', to, from, body, params, status: 'received' },
        ...{ numMedia: mediaUrls.length, numSegments: segments, errorCode: null, visibleAt: at.getTime() },
        ...{ dateCreated: at, dateUpdated: at, dateSent: at },
        messagingServiceSid: options.messagingServiceSid ?? null,
      });
    }
    const url = this.url('/webhooks/twilio/sms-inbound', options);
    const result = await this.webhooks.post(url, { ...params, ...options.extra }, { ...options, accountSid });
    return { ...result, messageSid };
  }

  /**
   * Acts as Twilio for a whole call: places it, obeys the first verb of the answer and reports the end.
   *
   * A `<Dial>` ends as told and is reported to its action URL; a voice webhook that failed ends the call there.
   */
  async playCall(options: PlayCallOptions): Promise<PlayedCall> {
    const voice = await this.placeCall(options);
    const { callSid } = voice;
    if (voice.status !== 200) return { callSid, verb: null, voice, dialResult: null, voiceStatus: null };
    const call = { ...options, callSid };
    const verb = firstVerb(voice.twiml);
    const dial = options.dial ?? { status: 'no-answer' };
    let dialResult: CallResult | null = null;
    if (verb?.name === 'Dial' && verb.attributes['action'] !== undefined) {
      const actionUrl = new URL(verb.attributes['action'], voice.url).toString();
      dialResult = await this.dialResult({
        ...call,
        actionUrl,
        dialCallStatus: dial.status,
        dialCallDuration: dial.duration,
      });
    }
    const canceled = verb?.name === 'Dial' && dial.status === 'canceled';
    const callStatus = options.callStatus ?? (canceled ? 'canceled' : 'completed');
    const voiceStatus = await this.voiceStatus({ ...call, callStatus });
    return { callSid, verb: verb?.name ?? null, voice, dialResult, voiceStatus };
  }

  private async postCall(path: string, options: CallOptions, params: Record<string, string>): Promise<CallResult> {
    const callSid = options.callSid ?? newSid('CA');
    const accountSid = options.accountSid ?? this.defaults.accountSid;
    const { from, to } = options;
    const all: Record<string, string> = {
      ...{ AccountSid: accountSid, ApiVersion: API_VERSION, CallSid: callSid, Direction: 'inbound' },
      ...{ Called: to, Caller: from, From: from, To: to },
      ...place('Called', to),
      ...place('Caller', from),
      ...place('From', from),
      ...place('To', to),
      ...(options.forwardedFrom === undefined
        ? {}
        : { ForwardedFrom: options.forwardedFrom, CalledVia: options.forwardedFrom }),
      ...params,
      ...options.extra,
    };
    const result = await this.webhooks.post(this.url(path, options), all, { ...options, accountSid });
    return { ...result, callSid, twiml: result.body };
  }

  private url(path: string, { webhookBaseUrl }: WebhookCall): string {
    if (/^https?:/.test(path)) return path;
    const base = webhookBaseUrl ?? this.defaults.webhookBaseUrl;
    if (base === undefined) throw new Error('Give webhookBaseUrl here or when the simulator starts');
    return base.replace(/\/+$/, '') + path;
  }
}

/** City, state, zip and country of a number; empty where Twilio knows none. */
function place(prefix: string, phone: string): Record<string, string> {
  const areaCode = /^\+1(\d{3})\d{7}$/.exec(phone)?.[1];
  const [city, state, zip] = PLACES[areaCode ?? ''] ?? ['', '', ''];
  return {
    [`${prefix}City`]: city,
    [`${prefix}State`]: state,
    [`${prefix}Zip`]: zip,
    [`${prefix}Country`]: areaCode === undefined ? '' : 'US',
  };
}

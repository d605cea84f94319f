import { stringify } from 'node:querystring';
import { Injectable } from '@nestjs/common';
import twilio from 'twilio';
import { ProviderCall } from '../../../common/decorators/provider-call.decorator.js';
import { Config } from '../../../infra/config/config.js';
import type { NotAccepted, Outcome } from '../../../infra/effects/effect.js';
import { ProviderGates } from '../../../infra/gates/provider-gates.service.js';
import { ProviderHttp, ProviderUnreachable, retryAfterMs } from '../../../infra/http/provider-http.client.js';
import type { TextReceipt } from '../../messages/message-states.service.js';
import { isRepairable, SendingTimings } from '../../messages/sending.policy.js';
import type { TwilioAccount } from './twilio-accounts.service.js';
import { classifyTwilioError } from './twilio-error-codes.js';

const LIST_PAGE = 50;

export interface OutgoingText {
  to: string;
  /** Exactly one of `from` and `messagingServiceSid`; US registration requires the service. */
  from?: string;
  messagingServiceSid?: string;
  body: string;
  statusCallback: string;
  /** Seconds after which a text still queued is worth nothing. */
  validityPeriod: number;
}

/** A message as the provider lists it. */
export interface ListedMessage {
  messageSid: string;
  status: string;
  body: string;
  from: string | null;
  messagingServiceSid: string | null;
  /** Since its creation, by the provider's own clock, in ms; its dates have whole seconds. */
  ageMs: number;
}

/** An answer that is no success, or not JSON. Ours, because the SDK's own errors drop the headers. */
export class TwilioProblem extends Error {
  constructor(
    readonly status: number,
    readonly code: number | undefined,
    readonly retryAfterMs: number | undefined,
  ) {
    super(`Twilio answered ${status}${code === undefined ? '' : ` with ${code}`}`);
    this.name = 'TwilioProblem';
  }
}

type RequestOptions = Parameters<InstanceType<typeof twilio.RequestClient>['request']>[0];

/** Twilio's own SDK over our instrumented HTTP client. */
@Injectable()
export class TwilioClient {
  private readonly clients = new Map<string, { token: string; client: twilio.Twilio }>();

  constructor(
    private readonly config: Config,
    private readonly http: ProviderHttp,
    private readonly timings: SendingTimings,
    private readonly gates: ProviderGates,
  ) {}

  /** How long not to ask for anything on an account, in ms; 0: it may be asked. */
  shutForMs(accountSid: string): number {
    return this.gates.waitMs('twilio', accountSid);
  }

  /** Asks for one text, once; what to do next is the sender's policy. */
  @ProviderCall({ provider: 'twilio', endpoint: 'messages.create' })
  async createMessage(account: TwilioAccount, text: OutgoingText): Promise<Outcome<TextReceipt>> {
    try {
      const { statusCallback, validityPeriod, ...rest } = text;
      const message = await this.of(account).messages.create({ ...rest, statusCallback, validityPeriod });
      if (!/^[SM]M[0-9a-f]{32}$/i.test(message.sid ?? '')) return { kind: 'unknown', httpStatus: '201' };
      const { sid: messageSid, status } = message;
      const receivedAt = performance.now();
      return { kind: 'accepted', receipt: { messageSid, status, evidence: 'response', httpStatus: '201', receivedAt } };
    } catch (error) {
      return outcomeOf(error);
    }
  }

  /**
   * The latest texts to a number, newest first. Not filtered by DateSent, which is null while a text is queued.
   * @throws ProviderUnreachable, or TwilioProblem
   */
  @ProviderCall({ provider: 'twilio', endpoint: 'messages.list' })
  async listMessagesTo(account: TwilioAccount, to: string): Promise<ListedMessage[]> {
    const page = await this.of(account).messages.pageWithHttpInfo({ to, pageSize: LIST_PAGE });
    const answeredAt = Date.parse(String(page.headers?.['date'])) || Date.now();
    return page.body.instances
      .filter((message) => message.direction === 'outbound-api')
      .map((message) => ({
        messageSid: message.sid,
        status: message.status,
        body: message.body,
        from: message.from,
        messagingServiceSid: message.messagingServiceSid,
        ageMs: answeredAt - message.dateCreated.getTime(),
      }));
  }

  private of(account: TwilioAccount): twilio.Twilio {
    const known = this.clients.get(account.accountSid);
    if (known?.token === account.authToken) return known.client;
    const client = twilio(account.accountSid, account.authToken, { httpClient: this.transport() });
    this.clients.set(account.accountSid, { token: account.authToken, client });
    return client;
  }

  /** The SDK's transport: our HTTP client, pointed at the configured base URL. */
  private transport(): InstanceType<typeof twilio.RequestClient> {
    const request = async (options: RequestOptions) => {
      const url = options.uri.replace('https://api.twilio.com', this.config.env.TWILIO_API_BASE_URL);
      const credentials = Buffer.from(`${options.username}:${options.password}`).toString('base64');
      const response = await this.http.request({
        account: options.username,
        method: options.method.toUpperCase() as 'GET' | 'POST',
        url,
        headers: {
          ...(options.headers as Record<string, string>),
          Authorization: `Basic ${credentials}`,
        },
        query: options.params as Record<string, unknown> | undefined,
        body: options.data ? stringify(options.data as Record<string, string>) : undefined,
        messageBody: (options.data as Record<string, string> | undefined)?.['Body'],
        timeoutMs: this.timings.requestTimeoutMs,
      });
      const body = parse(response.body);
      if (response.status < 200 || response.status > 299 || body === undefined) {
        const code = typeof body?.['code'] === 'number' ? body['code'] : undefined;
        throw new TwilioProblem(response.status, code, retryAfterMs(response.headers['retry-after']));
      }
      return { statusCode: response.status, body, headers: response.headers };
    };
    return { request } as unknown as InstanceType<typeof twilio.RequestClient>;
  }
}

/** The object in a body, or undefined when it holds none. */
function parse(body: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(body);
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}

function outcomeOf(error: unknown): NotAccepted {
  if (error instanceof ProviderUnreachable) {
    return { kind: error.processed === 'no' ? 'not_processed' : 'unknown', httpStatus: error.kind };
  }
  // A surprise on our side of the wire, before or after the request: perhaps.
  if (!(error instanceof TwilioProblem)) return { kind: 'unknown', httpStatus: 'network' };
  const { status, code, retryAfterMs } = error;
  const httpStatus = String(status);
  // "Never processed and always safe to retry", says the provider's own page on 20429; and 401 is no word on this text.
  if (status === 429 || status === 401) return { kind: 'not_processed', httpStatus, errorCode: code, retryAfterMs };
  if (status >= 400 && status < 500) {
    const meaning = classifyTwilioError(code);
    if (meaning.retry === 'later') return { kind: 'not_processed', httpStatus, errorCode: code, retryAfterMs };
    const { class: reason } = meaning;
    return { kind: 'refused', reason, isRepairable: isRepairable(reason), errorCode: code, httpStatus };
  }
  return { kind: 'unknown', httpStatus };
}

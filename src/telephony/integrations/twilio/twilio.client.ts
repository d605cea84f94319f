import { stringify } from 'node:querystring';
import { Injectable } from '@nestjs/common';
import twilio from 'twilio';
import { ProviderCall } from '../../../common/decorators/provider-call.decorator.js';
import { Config } from '../../../infra/config/config.js';
import { ProviderHttp, ProviderUnreachable } from '../../../infra/http/provider-http.client.js';
import { SendingTimings } from '../../messages/sending.policy.js';
import type { TwilioAccount } from './twilio-accounts.service.js';
import { classifyTwilioError, type TwilioErrorClass } from './twilio-error-codes.js';

const LIST_PAGE = 50;
/** A caller is waiting: a provider that asks for more patience than this is asked again all the same. */
const MAX_RETRY_AFTER_MS = 60_000;

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

/** What became of a request to send; `unknown` means that it may have been accepted. */
export type SendOutcome =
  | { kind: 'accepted'; messageSid: string; status: string; receivedAt: number }
  | { kind: 'refused'; errorClass: TwilioErrorClass; errorCode?: number; httpStatus: string }
  | { kind: 'not_processed'; retryAfterMs?: number; httpStatus: string; errorCode?: number }
  | { kind: 'unknown'; httpStatus: string };

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
  ) {}

  /** Asks for one text, once; what to do next is the sender's policy. */
  @ProviderCall({ provider: 'twilio', endpoint: 'messages.create' })
  async createMessage(account: TwilioAccount, text: OutgoingText): Promise<SendOutcome> {
    try {
      const { statusCallback, validityPeriod, ...rest } = text;
      const message = await this.of(account).messages.create({ ...rest, statusCallback, validityPeriod });
      if (!/^[SM]M[0-9a-f]{32}$/i.test(message.sid ?? '')) return { kind: 'unknown', httpStatus: '201' };
      return { kind: 'accepted', messageSid: message.sid, status: message.status, receivedAt: performance.now() };
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

function retryAfterMs(header: string | undefined): number | undefined {
  const seconds = Number.parseInt(header ?? '', 10);
  return seconds >= 0 ? Math.min(MAX_RETRY_AFTER_MS, seconds * 1_000) : undefined;
}

function outcomeOf(error: unknown): SendOutcome {
  if (error instanceof ProviderUnreachable) {
    return { kind: error.processed === 'no' ? 'not_processed' : 'unknown', httpStatus: error.kind };
  }
  // A surprise on our side of the wire, before or after the request: perhaps.
  if (!(error instanceof TwilioProblem)) return { kind: 'unknown', httpStatus: 'network' };
  const { status, code, retryAfterMs } = error;
  const httpStatus = String(status);
  // "Never processed and always safe to retry", says the provider's own page on 20429.
  if (status === 429) return { kind: 'not_processed', httpStatus, errorCode: code, retryAfterMs };
  if (status >= 400 && status < 500) {
    const meaning = classifyTwilioError(code);
    if (meaning.retry === 'later') return { kind: 'not_processed', httpStatus, errorCode: code, retryAfterMs };
    return { kind: 'refused', errorClass: meaning.class, errorCode: code, httpStatus };
  }
  return { kind: 'unknown', httpStatus };
}

import { stringify } from 'node:querystring';
import { Injectable } from '@nestjs/common';
import twilio from 'twilio';
import { ProviderCall } from '../../../common/decorators/provider-call.decorator.js';
import { Config } from '../../../infra/config/config.js';
import { ProviderHttp, ProviderUnreachable } from '../../../infra/http/provider-http.client.js';
import type { TwilioAccount } from './twilio-accounts.service.js';
import { classifyTwilioError, type TwilioErrorClass } from './twilio-error-codes.js';

/** Far below the SDK's own 30 s, which would be a caller's whole patience. */
const TIMEOUT_MS = 8_000;
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
  createdAt: Date;
}

type RequestOptions = Parameters<InstanceType<typeof twilio.RequestClient>['request']>[0];

/** Twilio's own SDK over our instrumented HTTP client. */
@Injectable()
export class TwilioClient {
  private readonly clients = new Map<string, { token: string; client: twilio.Twilio }>();

  constructor(
    private readonly config: Config,
    private readonly http: ProviderHttp,
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
   * @throws ProviderUnreachable, or the SDK's RestException
   */
  @ProviderCall({ provider: 'twilio', endpoint: 'messages.list' })
  async listMessagesTo(account: TwilioAccount, to: string): Promise<ListedMessage[]> {
    const messages = await this.of(account).messages.list({ to, pageSize: LIST_PAGE, limit: LIST_PAGE });
    return messages
      .filter((message) => message.direction === 'outbound-api')
      .map((message) => ({
        messageSid: message.sid,
        status: message.status,
        body: message.body,
        from: message.from,
        messagingServiceSid: message.messagingServiceSid,
        createdAt: message.dateCreated,
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
        timeoutMs: TIMEOUT_MS,
      });
      const retryAfter = Number(response.headers['retry-after']);
      return { statusCode: response.status, body: parse(response.body), headers: response.headers, retryAfter };
    };
    return { request } as unknown as InstanceType<typeof twilio.RequestClient>;
  }
}

/** The SDK expects parsed JSON; what is not JSON stays text, and then has no `sid`. */
function parse(body: string): unknown {
  try {
    return JSON.parse(body);
  } catch {
    return body;
  }
}

function outcomeOf(error: unknown): SendOutcome {
  if (error instanceof ProviderUnreachable) {
    return { kind: error.processed === 'no' ? 'not_processed' : 'unknown', httpStatus: error.kind };
  }
  const { status, code } = error as { status?: number; code?: number };
  const httpStatus = String(status ?? 'network');
  // "Never processed and always safe to retry", says the provider's own page on 20429.
  if (status === 429) return { kind: 'not_processed', httpStatus, errorCode: code };
  if (status !== undefined && status >= 400 && status < 500) {
    const meaning = classifyTwilioError(code);
    if (meaning.retry === 'later') return { kind: 'not_processed', httpStatus, errorCode: code };
    return { kind: 'refused', errorClass: meaning.class, errorCode: code, httpStatus };
  }
  return { kind: 'unknown', httpStatus };
}

import type { Delivery } from './delivery.js';
import { type ApiProblem, type Exchange, notFound } from './exchange.js';
import type { CreateFault, Faults, ReadFault } from './faults.js';
import { type Ledger, newSid, type SimulatedMessage } from './ledger.js';
import { countSegments, toResource } from './message.resource.js';
import { listPage } from './messages.page.js';
import type { OptOuts } from './opt-outs.js';
import type { Timers } from './timers.js';

const PHONE = /^\+(?:1[2-9]\d{2}[2-9]\d{6}|[2-9]\d{6,14})$/;
const BODY_LIMIT = 1_600;
const INTERNAL: ApiProblem = { status: 500, code: 20500, message: 'Internal Server Error' };
const UNAVAILABLE: ApiProblem = { status: 503, code: 20503, message: 'Service unavailable' };

export interface MessagesApiDependencies {
  readonly ledger: Ledger;
  readonly faults: Faults;
  readonly optOuts: OptOuts;
  readonly delivery: Delivery;
  readonly timers: Timers;
  readonly now: () => Date;
  /** Milliseconds until the list shows an accepted message. */
  readonly listVisibilityMs: number;
}

/** The Messages resource of the REST API: create, fetch, list. */
export class MessagesApi {
  constructor(private readonly use: MessagesApiDependencies) {}

  async create(exchange: Exchange, accountSid: string): Promise<void> {
    const form = await exchange.readForm();
    if (form === null) return exchange.problem({ status: 413, code: 20413, message: 'Request entity too large' });
    const params = Object.fromEntries(form);
    const fault = this.use.faults.take(params['To']);
    if (fault?.kind === 'hang' || fault?.kind === 'reset') {
      this.record(accountSid, params, fault, { status: null });
      return fault.kind === 'hang' ? exchange.hang() : exchange.reset();
    }
    const problem = problemOf(fault) ?? this.validate(params);
    if (problem !== null) {
      this.record(accountSid, params, fault, { status: problem.status, problem });
      if (fault?.kind === 'latency') await this.use.timers.wait(fault.ms);
      return exchange.problem(problem);
    }
    const message = this.accept(accountSid, params, form.getAll('MediaUrl').length);
    const resource = toResource(message);
    this.record(accountSid, params, fault, { status: statusOf(fault), sid: message.sid });
    const delivery = this.use.delivery.begin(message);
    await delivery.beforeAnswer;
    await this.answer(exchange, fault, resource);
    delivery.proceed();
  }

  async fetch(exchange: Exchange, accountSid: string, sid: string): Promise<void> {
    if (await this.misread(exchange, this.use.faults.fetch.take())) return;
    const message = this.use.ledger.find(sid);
    if (message?.accountSid !== accountSid) return exchange.problem(notFound(exchange.url.pathname));
    exchange.json(200, toResource(message));
  }

  async list(exchange: Exchange, accountSid: string): Promise<void> {
    const query = exchange.url.searchParams;
    const fault = this.use.faults.list.take(query.get('To') ?? undefined);
    if (fault?.kind !== 'empty' && (await this.misread(exchange, fault))) return;
    const now = this.use.now().getTime();
    const visible = [...this.use.ledger.messages, ...this.use.ledger.inbound].filter(
      (message) => message.accountSid === accountSid && message.visibleAt <= now,
    );
    exchange.json(200, listPage(exchange.url, fault?.kind === 'empty' ? [] : visible));
  }

  /** Plays a fault of a read; true when the request is thereby dealt with. */
  private async misread(exchange: Exchange, fault: ReadFault | undefined): Promise<boolean> {
    if (fault === undefined) return false;
    if (fault.kind === 'latency') {
      await this.use.timers.wait(fault.ms);
      return false;
    }
    if (fault.kind === 'hang') exchange.hang();
    else if (fault.kind === 'reset') exchange.reset();
    else if (fault.kind === 'garbage') exchange.send(200, '<html>');
    else if (fault.kind === 'empty') exchange.problem(notFound(exchange.url.pathname));
    else exchange.problem(problemOf(fault) ?? INTERNAL);
    return true;
  }

  private async answer(exchange: Exchange, fault: CreateFault | undefined, resource: unknown): Promise<void> {
    switch (fault?.kind) {
      case 'hang_accepted':
        return exchange.hang();
      case 'lost_response':
        return exchange.drop();
      case 'truncated':
        return exchange.truncate(201, resource);
      case 'garbage':
        return exchange.send(201, '{"sid": "SM');
      case 'status_500_accepted':
        return exchange.problem(INTERNAL);
      case 'latency':
        await this.use.timers.wait(fault.ms);
    }
    exchange.json(201, resource);
  }

  private validate(params: Record<string, string>): ApiProblem | null {
    const { To: to, From: from, MessagingServiceSid: service, Body: body } = params;
    const refuse = (code: number, message: string) => ({ status: 400, code, message });
    if (!to) return refuse(21604, "A 'To' phone number is required.");
    if (!from && !service) return refuse(21603, "A 'From' phone number is required.");
    if (!body && !params['MediaUrl'] && !params['ContentSid']) return refuse(21602, 'Message body is required.');
    if (!PHONE.test(to)) return refuse(21211, `Invalid 'To' Phone Number: ${to.slice(0, -4)}XXXX`);
    if (to === from) return refuse(21266, "'To' and 'From' number cannot be the same");
    if ((body ?? '').length > BODY_LIMIT) {
      return refuse(21617, 'The concatenated message body exceeds the 1600 character limit');
    }
    const callback = params['StatusCallback'];
    if (callback && !/^https?:$/.test(URL.parse(callback)?.protocol ?? '')) {
      return refuse(21609, `The StatusCallback URL ${callback} is not a valid URL.`);
    }
    if (this.use.optOuts.has(to, service ?? from ?? '')) {
      return refuse(21610, 'Attempt to send to unsubscribed recipient');
    }
    return null;
  }

  private accept(accountSid: string, params: Record<string, string>, numMedia: number): SimulatedMessage {
    const at = this.use.now();
    const service = params['MessagingServiceSid'] || null;
    const body = params['Body'] ?? '';
    const message: SimulatedMessage = {
      sid: newSid(numMedia > 0 ? 'MM' : 'SM'),
      accountSid,
      direction: 'outbound-api',
      to: params['To'] ?? '',
      from: params['From'] || null,
      messagingServiceSid: service,
      body,
      params,
      numMedia,
      numSegments: countSegments(body),
      status: service === null ? 'queued' : 'accepted',
      errorCode: null,
      dateCreated: at,
      dateUpdated: at,
      dateSent: null,
      visibleAt: at.getTime() + this.use.listVisibilityMs,
    };
    this.use.ledger.accept(message);
    return message;
  }

  private record(
    accountSid: string,
    params: Record<string, string>,
    fault: CreateFault | undefined,
    { status, sid = null, problem = null }: { status: number | null; sid?: string | null; problem?: ApiProblem | null },
  ): void {
    this.use.ledger.created.append({
      ...{ at: this.use.now(), accountSid, params, status, sid },
      accepted: sid !== null,
      code: problem?.code ?? null,
      fault: fault?.kind ?? null,
    });
  }
}

/** The refusal that a fault stands for, if it is one. */
function problemOf(fault: CreateFault | ReadFault | undefined): ApiProblem | null {
  switch (fault?.kind) {
    case 'status_500':
      return INTERNAL;
    case 'status_503':
      return UNAVAILABLE;
    case 'status_429':
      return { status: 429, code: 20429, message: 'Too Many Requests', retryAfterSeconds: fault.retryAfterSeconds };
    case 'reject':
      return { status: fault.status, code: fault.code, message: fault.message ?? `Rejected with ${fault.code}` };
    default:
      return null;
  }
}

/** The status that answers a message that was accepted all the same. */
function statusOf(fault: CreateFault | undefined): number | null {
  if (fault?.kind === 'hang_accepted' || fault?.kind === 'lost_response') return null;
  return fault?.kind === 'status_500_accepted' ? 500 : 201;
}

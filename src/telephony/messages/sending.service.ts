import { Injectable } from '@nestjs/common';
import { PinoLogger } from 'nestjs-pino';
import { v7 as uuidv7 } from 'uuid';
import { currentCorrelationId } from '../../common/context/context.js';
import { metrics } from '../../common/metrics/metrics.js';
import { ComplianceApi } from '../../compliance/contracts/compliance.api.js';
import { Config } from '../../infra/config/config.js';
import { Database, type Transaction } from '../../infra/database/database.js';
import { PermanentFailure, Snooze } from '../../infra/outbox/outbox.errors.js';
import { countSegments } from '../contracts/gsm7.js';
import type { LineSettings, TextRequest } from '../contracts/telephony.api.js';
import { TelephonyApi } from '../contracts/telephony.api.js';
import { type SendOutcome, TwilioClient } from '../integrations/twilio/twilio.client.js';
import { type TwilioAccount, TwilioAccounts } from '../integrations/twilio/twilio-accounts.service.js';
import { Lines } from '../numbers/lines.service.js';
import { type MessageRow, MessageStates } from './message-states.service.js';
import {
  FINISH_ATTEMPT,
  LATEST_ATTEMPT,
  LOCK_MESSAGE,
  MARK_SUBMITTING,
  MESSAGE,
  MESSAGE_BY_KEY,
  REQUEST_MESSAGE,
  SET_STATE,
  SIDS_OF_OTHERS,
} from './messages.queries.js';
import { backoffMs, isSame, isTooLate, MAX_RESENDS, nextLookInMs, VALIDITY_SECONDS } from './sending.policy.js';

/** A process that was frozen for longer than this since its marker must not send: others may have taken over. */
const STALE_MARKER_MS = 5_000;
const PAUSED_LOOK_MS = 2_000;

/**
 * Sends texts effectively once over an API that has no idempotency key. The intent is recorded before the provider is
 * called and marked in a commit of its own; a definite answer is acted on; an unknown outcome is looked for at the
 * provider and only then, once per look, sent again. No transaction is open while the provider is asked.
 */
@Injectable()
export class Sending extends TelephonyApi {
  constructor(
    private readonly config: Config,
    private readonly database: Database,
    private readonly lines: Lines,
    private readonly accounts: TwilioAccounts,
    private readonly twilio: TwilioClient,
    private readonly compliance: ComplianceApi,
    private readonly states: MessageStates,
    private readonly logger: PinoLogger,
  ) {
    super();
  }

  configureLine(tx: Transaction, tenantId: string, settings: LineSettings): Promise<void> {
    return this.lines.configure(tx, tenantId, settings);
  }

  async requestText(tx: Transaction, request: TextRequest): Promise<string> {
    const messageId = uuidv7();
    const line = await this.lines.get(tx, request.tenantId);
    await tx.query(REQUEST_MESSAGE, [
      messageId,
      request.tenantId,
      request.purpose,
      request.dedupKey,
      request.trigger.id,
      currentCorrelationId(),
      request.caller,
      request.businessNumber,
      line.messagingServiceSid,
      line.twilioAccountSid ?? this.accounts.platform.accountSid,
      request.body,
      countSegments(request.body).segments,
      request.handlerElapsedMs,
      request.trigger.at,
      request.trigger.recordedAt,
    ]);
    const [row] = await tx.query<{ message_id: string }>(MESSAGE_BY_KEY, [request.tenantId, request.dedupKey]);
    return row?.message_id ?? messageId;
  }

  async submit(messageId: string): Promise<void> {
    const [message] = await this.database.query<MessageRow>(MESSAGE, [messageId]);
    if (!message) throw new PermanentFailure('telephony.unknown_message', 'There is no such message');
    switch (message.state) {
      case 'requested':
        return this.send(message, false);
      case 'submitting':
      case 'unknown':
        return this.reconcile(message);
      case 'needs_review':
        throw new PermanentFailure('telephony.needs_review', 'The outcome of a text could not be established');
      default:
        return;
    }
  }

  private async send(message: MessageRow, resend: boolean): Promise<void> {
    if (this.config.env.PAUSE_OUTBOUND_SMS) throw new Snooze(PAUSED_LOOK_MS, 'outbound_paused');
    const account = await this.accountOf(message);
    const marked = await this.mark(message, resend);
    if (!marked) return;
    const markedAt = performance.now();
    if (resend) metrics.increment('twilio_resends_total');

    const outcome = await this.ask(account, message, marked.attempt, markedAt);
    await this.conclude(message, marked.attempt, outcome);
  }

  /** The last gate, in the transaction that makes the message count as perhaps sent. */
  private mark(message: MessageRow, resend: boolean): Promise<{ attempt: number } | undefined> {
    return this.database.transaction(async (tx) => {
      const [current] = await tx.query<MessageRow>(LOCK_MESSAGE, [message.message_id]);
      if (current?.attempt !== message.attempt || current.accepted_at) return undefined;
      const permission = await this.compliance.mayText(tx, message.tenant_id, message.caller);
      if (!permission.allowed || isTooLate(message.purpose, message.age_ms)) {
        await this.states.fail(tx, current, permission.allowed ? 'too_late' : permission.reason, undefined);
        return undefined;
      }
      const [marked] = await tx.query<{ attempt: number }>(MARK_SUBMITTING, [
        message.message_id,
        message.attempt,
        resend,
      ]);
      return marked;
    });
  }

  private async ask(
    account: TwilioAccount,
    message: MessageRow,
    attempt: number,
    markedAt: number,
  ): Promise<SendOutcome> {
    if (performance.now() - markedAt > STALE_MARKER_MS) return { kind: 'not_processed', httpStatus: 'stale' };
    return this.twilio.createMessage(account, {
      to: message.caller,
      ...(message.messaging_service_sid
        ? { messagingServiceSid: message.messaging_service_sid }
        : { from: message.business_number }),
      body: message.body,
      statusCallback: `${this.config.env.PUBLIC_BASE_URL}/webhooks/twilio/sms-status?m=${message.message_id}&a=${attempt}`,
      validityPeriod: VALIDITY_SECONDS[message.purpose],
    });
  }

  private async conclude(message: MessageRow, attempt: number, outcome: SendOutcome): Promise<void> {
    const finish = (tx: Transaction, word: string, errorCode?: number) =>
      tx.query(FINISH_ATTEMPT, [message.message_id, attempt, word, outcomeStatus(outcome), errorCode ?? null, null]);
    // The row may have moved on: a callback can be faster than the answer.
    const settle = (work: (tx: Transaction, current: MessageRow) => Promise<void>) =>
      this.database.transaction(async (tx) => {
        const [current] = await tx.query<MessageRow>(LOCK_MESSAGE, [message.message_id]);
        if (current) await work(tx, current);
      });

    switch (outcome.kind) {
      case 'accepted': {
        const { messageSid, status, receivedAt } = outcome;
        return settle((tx, current) =>
          this.states.accept(tx, current, {
            messageSid,
            status,
            attempt,
            evidence: 'response',
            httpStatus: '201',
            agoMs: performance.now() - receivedAt,
          }),
        );
      }
      case 'refused':
        return settle(async (tx, current) => {
          await finish(tx, 'refused', outcome.errorCode);
          if (current.accepted_at) return;
          await this.states.fail(tx, current, outcome.errorClass, outcome.errorCode);
          if (outcome.errorClass === 'opted_out') {
            await this.compliance.importOptOut(tx, message.tenant_id, message.caller, message.message_id);
          }
        });
      case 'not_processed':
        await settle(async (tx, current) => {
          await finish(tx, 'not_processed', outcome.errorCode);
          if (current.state === 'submitting') await tx.query(SET_STATE, [message.message_id, 'requested', null]);
        });
        throw new Snooze(backoffMs(attempt, Math.random(), outcome.retryAfterMs), 'provider_not_accepting');
      case 'unknown':
        await settle(async (tx, current) => {
          await finish(tx, 'ambiguous');
          if (current.state === 'submitting') await tx.query(SET_STATE, [message.message_id, 'unknown', null]);
        });
        return this.lookLater(message);
    }
  }

  /** It may be with the provider: look there, adopt it if it is, and only when it is not, send again. */
  private async reconcile(message: MessageRow): Promise<void> {
    const [attempt] = await this.database.query<{ attempt: number; started_at: Date; age_ms: number }>(LATEST_ATTEMPT, [
      message.message_id,
    ]);
    if (!attempt) throw new PermanentFailure('telephony.no_attempt', 'A submitted message has no attempt on record');
    const found = await this.find(message);
    if (found) {
      this.logger.info(
        { provider: 'twilio', message_sid: found.messageSid, attempt: attempt.attempt },
        'lost answer found',
      );
      return this.database.transaction(async (tx) => {
        const [current] = await tx.query<MessageRow>(LOCK_MESSAGE, [message.message_id]);
        if (!current) return;
        await this.states.accept(tx, current, {
          messageSid: found.messageSid,
          status: found.status,
          attempt: attempt.attempt,
          evidence: 'reconciled',
          agoMs: 0,
        });
      });
    }
    const nextLook = nextLookInMs(message.purpose, attempt.age_ms);
    if (nextLook !== undefined) throw new Snooze(nextLook, 'reconciling');
    if (message.resends >= MAX_RESENDS) {
      await this.database.query(SET_STATE, [message.message_id, 'needs_review', null]);
      throw new PermanentFailure('telephony.needs_review', 'The outcome of a text could not be established');
    }
    // A crash leaves `submitting`; the marker of the resend starts from here.
    await this.database.query(SET_STATE, [message.message_id, 'unknown', null]);
    return this.send(message, true);
  }

  private async find(message: MessageRow) {
    const account = await this.accountOf(message);
    const listed = await this.twilio.listMessagesTo(account, message.caller).catch((error: unknown) => {
      this.logger.warn({ err: error, provider: 'twilio' }, 'the provider could not be asked for a lost answer');
      throw new Snooze(backoffMs(3, Math.random()), 'reconciling');
    });
    const sought = {
      body: message.body,
      businessNumber: message.business_number,
      messagingServiceSid: message.messaging_service_sid,
      since: message.submitted_at ?? new Date(0),
    };
    const candidates = listed.filter((candidate) => isSame(candidate, sought));
    if (candidates.length === 0) return undefined;
    const sids = candidates.map(({ messageSid }) => messageSid);
    const others = await this.database.query<{ message_sid: string }>(SIDS_OF_OTHERS, [sids, message.message_id]);
    return candidates.find(({ messageSid }) => !others.some((other) => other.message_sid === messageSid));
  }

  private async lookLater(message: MessageRow): Promise<never> {
    const [attempt] = await this.database.query<{ age_ms: number }>(LATEST_ATTEMPT, [message.message_id]);
    throw new Snooze(nextLookInMs(message.purpose, attempt?.age_ms ?? 0) ?? 0, 'reconciling');
  }

  private async accountOf(message: MessageRow): Promise<TwilioAccount> {
    const account = await this.accounts.find(message.account_sid);
    if (account) return account;
    throw new PermanentFailure('telephony.unknown_account', 'The account of this text is not known any more');
  }
}

function outcomeStatus(outcome: SendOutcome): string | null {
  return 'httpStatus' in outcome ? outcome.httpStatus : null;
}

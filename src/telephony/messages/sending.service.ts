import { Injectable } from '@nestjs/common';
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
import { classifyTwilioError } from '../integrations/twilio/twilio-error-codes.js';
import { Lines } from '../numbers/lines.service.js';
import { type MessageRow, MessageStates } from './message-states.service.js';
import {
  FINISH_ATTEMPT,
  LOCK_MESSAGE,
  MARK_SUBMITTING,
  MESSAGE,
  MESSAGE_BY_KEY,
  OPEN_ATTEMPTS,
  REQUEST_MESSAGE,
  SET_STATE,
} from './messages.queries.js';
import { type OpenAttempt, Reconciliation } from './reconciliation.service.js';
import {
  backoffMs,
  isRepairable,
  isTooLate,
  nextLookInMs,
  SendingTimings,
  VALIDITY_SECONDS,
} from './sending.policy.js';

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
    private readonly reconciliation: Reconciliation,
    private readonly timings: SendingTimings,
  ) {
    super();
  }

  configureLine(tx: Transaction, tenantId: string, settings: LineSettings): Promise<void> {
    return this.lines.configure(tx, tenantId, settings);
  }

  async requestText(tx: Transaction, request: TextRequest): Promise<string> {
    const messageId = uuidv7();
    const line = await this.lines.get(tx, request.tenantId);
    const [fresh] = await tx.query<{ message_id: string }>(REQUEST_MESSAGE, [
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
    if (fresh) return messageId;
    const [earlier] = await tx.query<{ message_id: string }>(MESSAGE_BY_KEY, [request.tenantId, request.dedupKey]);
    if (!earlier) throw new Error('the message was neither inserted nor found');
    return earlier.message_id;
  }

  async submit(messageId: string): Promise<void> {
    const [message] = await this.database.query<MessageRow>(MESSAGE, [messageId]);
    if (!message) throw new PermanentFailure('telephony.unknown_message', 'There is no such message');
    switch (message.state) {
      case 'requested':
        return this.send(message, false);
      case 'submitting':
      case 'unknown':
      case 'needs_review': {
        const verdict = await this.reconciliation.settle(await this.accountOf(message), message);
        return verdict === 'absent' ? this.send(message, true) : undefined;
      }
      case 'failed': {
        // Its dead letter was redriven: what the provider refused it for may have been repaired.
        if (!isRepairable(classifyTwilioError(message.error_code ?? undefined).class)) return;
        const open = await this.database.query<OpenAttempt>(OPEN_ATTEMPTS, [messageId]);
        return this.send(message, open.length > 0);
      }
      default:
        return;
    }
  }

  private async send(message: MessageRow, resend: boolean): Promise<void> {
    if (this.config.env.PAUSE_OUTBOUND_SMS) throw new Snooze(this.timings.pausedLookMs, 'outbound_paused');
    const account = await this.accountOf(message);
    // Before the marker: a freeze while it is being committed counts as well.
    const markingAt = performance.now();
    const marked = await this.mark(message, resend);
    if (marked === 'settled') return;
    // Whoever took it may die: somebody has to come back.
    if (marked === 'taken') throw new Snooze(this.firstLookMs(message), 'in_other_hands');
    if (resend) metrics.increment('twilio_resends_total');

    const outcome = await this.ask(account, message, marked.attempt, markingAt);
    await this.conclude(message, marked.attempt, outcome);
  }

  /** The last gate, in the transaction that makes the message count as perhaps sent. */
  private mark(message: MessageRow, resend: boolean): Promise<{ attempt: number } | 'settled' | 'taken'> {
    return this.database.transaction(async (tx) => {
      const [current] = await tx.query<MessageRow>(LOCK_MESSAGE, [message.message_id]);
      if (!current || current.accepted_at || (current.state === 'failed' && message.state !== 'failed'))
        return 'settled';
      if (current.attempt !== message.attempt) return 'taken';
      const permission = await this.compliance.mayText(tx, message.tenant_id, message.caller);
      if (!permission.allowed || isTooLate(message.purpose, message.age_ms)) {
        const reason = permission.allowed ? 'too_late' : permission.reason;
        if (current.state !== 'failed') await this.states.fail(tx, current, reason, undefined);
        return 'settled';
      }
      const parameters = [message.message_id, message.attempt, resend];
      const [marked] = await tx.query<{ attempt: number }>(MARK_SUBMITTING, parameters);
      return marked ?? 'taken';
    });
  }

  private async ask(
    account: TwilioAccount,
    message: MessageRow,
    attempt: number,
    markingAt: number,
  ): Promise<SendOutcome> {
    if (performance.now() - markingAt > this.timings.staleMarkerMs) {
      return { kind: 'not_processed', httpStatus: 'stale' };
    }
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
    const sids = outcome.kind === 'accepted' ? [outcome.messageSid] : [];
    const unfinished = await this.database.transaction(async (tx) => {
      const current = await this.states.lock(tx, message.message_id, sids);
      return current && this.take(tx, current, attempt, outcome);
    });
    if (unfinished) throw unfinished;
  }

  /**
   * Takes an outcome into the locked message. The row may have moved on: a callback can be faster than the answer, and
   * a process that was frozen can come back with an older attempt than the present one. Then the outcome is recorded,
   * and decides nothing.
   * @returns what the outbox has to hear: when to go on, or that a person has to; undefined when nothing is left to do
   */
  private async take(
    tx: Transaction,
    current: MessageRow,
    attempt: number,
    outcome: SendOutcome,
  ): Promise<Snooze | PermanentFailure | undefined> {
    const { message_id: messageId } = current;
    if (outcome.kind === 'accepted') {
      const { messageSid, status, receivedAt } = outcome;
      const agoMs = performance.now() - receivedAt;
      const acceptance = { messageSid, status, attempt, evidence: 'response' as const, httpStatus: '201', agoMs };
      await this.states.accept(tx, current, acceptance);
      return undefined;
    }
    const errorCode = 'errorCode' in outcome ? outcome.errorCode : undefined;
    const word = outcome.kind === 'unknown' ? 'ambiguous' : outcome.kind;
    await tx.query(FINISH_ATTEMPT, [messageId, attempt, word, outcome.httpStatus, errorCode ?? null, null]);
    if (outcome.kind === 'refused' && outcome.errorClass === 'opted_out') {
      await this.compliance.importOptOut(tx, current.tenant_id, current.caller, messageId);
    }
    if (current.accepted_at) return undefined;
    const decides = current.attempt === attempt && current.state === 'submitting';
    const open = await tx.query<OpenAttempt>(OPEN_ATTEMPTS, [messageId]);
    switch (outcome.kind) {
      case 'refused':
        if (!decides) return undefined;
        await this.states.fail(tx, current, outcome.errorClass, outcome.errorCode);
        return isRepairable(outcome.errorClass)
          ? new PermanentFailure(
              `telephony.${outcome.errorClass}`,
              'The provider refused a text because of its account',
            )
          : undefined;
      case 'not_processed':
        // An earlier request may still turn out to be a text: then the next one is a resend, and looks first.
        if (decides) await tx.query(SET_STATE, [messageId, open.length > 0 ? 'unknown' : 'requested', null]);
        return new Snooze(
          backoffMs(attempt, Math.random(), this.timings.backoffBaseMs, outcome.retryAfterMs),
          'provider_not_accepting',
        );
      case 'unknown': {
        if (decides) await tx.query(SET_STATE, [messageId, 'unknown', null]);
        const looks = this.timings.lookAtMs[current.purpose];
        return new Snooze(nextLookInMs(looks, open.at(-1)?.age_ms ?? 0) ?? 0, 'reconciling');
      }
    }
  }

  private firstLookMs(message: MessageRow): number {
    return this.timings.lookAtMs[message.purpose][0] ?? 0;
  }

  private async accountOf(message: MessageRow): Promise<TwilioAccount> {
    const account = await this.accounts.find(message.account_sid);
    if (account) return account;
    throw new PermanentFailure('telephony.unknown_account', 'The account of this text is not known any more');
  }
}

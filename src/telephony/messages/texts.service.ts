import { Injectable } from '@nestjs/common';
import { PinoLogger } from 'nestjs-pino';
import { metrics } from '../../common/metrics/metrics.js';
import { ComplianceApi } from '../../compliance/contracts/compliance.api.js';
import { Config } from '../../infra/config/config.js';
import { Database, type Transaction } from '../../infra/database/database.js';
import type {
  Effect,
  EffectTimings,
  Failure,
  Found,
  Intent,
  NotAccepted,
  OpenAttempt,
  Outcome,
} from '../../infra/effects/effect.js';
import { PermanentFailure, Snooze } from '../../infra/outbox/outbox.errors.js';
import { TwilioClient } from '../integrations/twilio/twilio.client.js';
import { type TwilioAccount, TwilioAccounts } from '../integrations/twilio/twilio-accounts.service.js';
import { type MessageRow, MessageStates, type TextReceipt } from './message-states.service.js';
import {
  FINISH_ATTEMPT,
  MARK_SUBMITTING,
  MESSAGE,
  OPEN_ATTEMPTS,
  SET_STATE,
  SIDS_OF_OTHERS,
} from './messages.queries.js';
import { isSame, MAX_RESENDS, phaseOf, SendingTimings, TOO_LATE_MS, VALIDITY_SECONDS } from './sending.policy.js';

/** A message as the protocol sees it. */
export type Text = MessageRow & Intent;

/** A text as an effect: how Twilio is asked for one and looked at, and how telephony records what became of it. */
@Injectable()
export class Texts implements Effect<Text, TextReceipt> {
  readonly context = 'telephony';

  constructor(
    private readonly config: Config,
    private readonly database: Database,
    private readonly accounts: TwilioAccounts,
    private readonly twilio: TwilioClient,
    private readonly compliance: ComplianceApi,
    private readonly states: MessageStates,
    private readonly waits: SendingTimings,
    private readonly logger: PinoLogger,
  ) {}

  timings({ purpose, account_sid }: Text): EffectTimings {
    const { staleMarkerMs, lookAtMs } = this.waits;
    // While the account's gate is shut, the gate does the waiting: whoever waits beside it comes late.
    const backoffBaseMs = this.twilio.shutForMs(account_sid) > 0 ? 0 : this.waits.backoffBaseMs;
    const tooLateMs = TOO_LATE_MS[purpose];
    return { staleMarkerMs, backoffBaseMs, lookAtMs: lookAtMs[purpose], tooLateMs, maxResends: MAX_RESENDS };
  }

  async read(messageId: string): Promise<Text> {
    const [message] = await this.database.query<MessageRow>(MESSAGE, [messageId]);
    if (message) return { ...message, phase: phaseOf(message) };
    throw new PermanentFailure('telephony.unknown_message', 'There is no such message');
  }

  async lock(tx: Transaction, messageId: string, receipts: readonly TextReceipt[] = []): Promise<Text | undefined> {
    const sids = receipts.map(({ messageSid }) => messageSid);
    const message = await this.states.lock(tx, messageId, sids);
    return message && { ...message, phase: phaseOf(message) };
  }

  async prepare(message: Text): Promise<(attempt: number) => Promise<Outcome<TextReceipt>>> {
    if (this.config.env.PAUSE_OUTBOUND_SMS) throw new Snooze(this.waits.pausedLookMs, 'outbound_paused');
    const shutForMs = this.twilio.shutForMs(message.account_sid);
    if (shutForMs > 0) throw new Snooze(shutForMs, 'provider_gate_shut');
    const account = await this.accountOf(message);
    const { message_id: id, messaging_service_sid: messagingServiceSid } = message;
    return (attempt) =>
      this.twilio.createMessage(account, {
        to: message.caller,
        ...(messagingServiceSid ? { messagingServiceSid } : { from: message.business_number }),
        body: message.body,
        statusCallback: `${this.config.env.PUBLIC_BASE_URL}/webhooks/twilio/sms-status?m=${id}&a=${attempt}`,
        validityPeriod: VALIDITY_SECONDS[message.purpose],
      });
  }

  async objection(tx: Transaction, { tenant_id, caller }: Text): Promise<string | undefined> {
    const permission = await this.compliance.mayText(tx, tenant_id, caller);
    return permission.allowed ? undefined : permission.reason;
  }

  async mark(tx: Transaction, { message_id, attempt }: Text, resend: boolean): Promise<number | undefined> {
    const [marked] = await tx.query<{ attempt: number }>(MARK_SUBMITTING, [message_id, attempt, resend]);
    if (marked && resend) tx.afterCommit(() => metrics.increment('twilio_resends_total'));
    return marked?.attempt;
  }

  openAttempts(messageId: string, tx: Pick<Transaction, 'query'> = this.database): Promise<OpenAttempt[]> {
    return tx.query<OpenAttempt>(OPEN_ATTEMPTS, [messageId]);
  }

  async look(message: Text): Promise<Found<TextReceipt>[] | undefined> {
    const account = await this.accountOf(message);
    try {
      const listed = await this.twilio.listMessagesTo(account, message.caller);
      // Listed newest first; whole seconds tie, so the order decides.
      return listed
        .filter((candidate) => isSame(candidate, message))
        .map(({ messageSid, status, ageMs }) => ({ receipt: { messageSid, status, evidence: 'reconciled' }, ageMs }))
        .reverse() as Found<TextReceipt>[];
    } catch (error) {
      this.logger.warn({ err: error, provider: 'twilio' }, 'the provider could not be asked for a lost answer');
      return undefined;
    }
  }

  async unclaimed(tx: Transaction, { message_id }: Text, found: readonly Found<TextReceipt>[]) {
    const sids = found.map(({ receipt }) => receipt.messageSid);
    const others = await tx.query<{ message_sid: string }>(SIDS_OF_OTHERS, [sids, message_id]);
    return found.filter(({ receipt }) => !others.some((other) => other.message_sid === receipt.messageSid));
  }

  accept(tx: Transaction, message: Text, attempt: number, receipt: TextReceipt): Promise<void> {
    return this.states.accept(tx, message, attempt, receipt);
  }

  async record(tx: Transaction, message: Text, attempt: number, outcome: NotAccepted): Promise<void> {
    const { message_id: id, tenant_id: tenantId, caller } = message;
    const word = outcome.kind === 'unknown' ? 'ambiguous' : outcome.kind;
    const errorCode = 'errorCode' in outcome ? outcome.errorCode : undefined;
    await tx.query(FINISH_ATTEMPT, [id, attempt, word, outcome.httpStatus, errorCode ?? null, null]);
    if (outcome.kind !== 'refused' || outcome.reason !== 'opted_out') return;
    await this.compliance.importOptOut(tx, tenantId, caller, id);
  }

  async setPhase(tx: Transaction, { message_id }: Text, phase: string): Promise<void> {
    await tx.query(SET_STATE, [message_id, phase, null]);
  }

  fail(tx: Transaction, message: Text, { reason, errorCode }: Failure): Promise<void> {
    return this.states.fail(tx, message, reason, errorCode);
  }

  private async accountOf(message: Text): Promise<TwilioAccount> {
    const account = await this.accounts.find(message.account_sid);
    if (account) return account;
    throw new PermanentFailure('telephony.unknown_account', 'The account of this text is not known any more');
  }
}

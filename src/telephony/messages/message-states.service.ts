import { Injectable } from '@nestjs/common';
import { PinoLogger } from 'nestjs-pino';
import type { Transaction } from '../../infra/database/database.js';
import { Outbox } from '../../infra/outbox/outbox.service.js';
import { callerKey } from '../contracts/caller-key.js';
import { DeliveryUpdated, OutboundSmsFailed, OutboundSmsQueued } from '../contracts/messages.event.js';
import { advance, type MessageState } from './delivery-state.policy.js';
import {
  FINISH_ATTEMPT,
  LOCK_MESSAGE,
  LOCK_SID,
  SET_ACCEPTED,
  SET_STATE,
  UNPARK_CALLBACKS,
} from './messages.queries.js';

/** An outbound message as the sending side needs it. */
export interface MessageRow {
  message_id: string;
  tenant_id: string;
  purpose: 'first_reply';
  trigger_id: string;
  correlation_id: string;
  caller: string;
  business_number: string;
  messaging_service_sid: string | null;
  account_sid: string;
  body: string;
  state: MessageState;
  error_code: number | null;
  message_sid: string | null;
  attempt: number;
  accepted_at: Date | null;
  /** Since the missed call. */
  age_ms: number;
}

/** How we know that the provider has a text. */
export interface TextReceipt {
  messageSid: string;
  /** The provider's own word for the state. */
  status: string;
  evidence: 'response' | 'reconciled' | 'callback';
  errorCode?: number;
  httpStatus?: string;
  /** `performance.now()` when it became known; left out: now. */
  receivedAt?: number;
}

interface AcceptedRow {
  message_sid: string;
  accepted_at: Date;
  webhook_ms: number;
  outbox_wait_ms: number;
  handler_ms: number;
  provider_ms: number;
}

/** The state of outbound texts: only forward, every acceptance announced once, whoever learned of it first. */
@Injectable()
export class MessageStates {
  constructor(
    private readonly outbox: Outbox,
    private readonly logger: PinoLogger,
  ) {}

  /**
   * The message, locked, and before it the sids that are about to become known. Everybody locks in this order: a
   * callback that meets the answer to the request must wait, not deadlock.
   */
  async lock(tx: Transaction, messageId: string, sids: readonly string[] = []): Promise<MessageRow | undefined> {
    for (const sid of sids.toSorted()) await tx.query(LOCK_SID, [sid]);
    const [message] = await tx.query<MessageRow>(LOCK_MESSAGE, [messageId]);
    return message;
  }

  /**
   * The provider has the text. Takes in callbacks that came before we knew its sid. The caller holds the locks of the
   * sid and of `message`.
   */
  async accept(tx: Transaction, message: MessageRow, attempt: number, receipt: TextReceipt): Promise<void> {
    const { messageSid, status, evidence, errorCode, httpStatus, receivedAt } = receipt;
    const agoMs = receivedAt === undefined ? 0 : performance.now() - receivedAt;
    const isSecond = message.message_sid !== null && message.message_sid !== messageSid;
    const parked = await tx.query<{ status: string; error_code: number | null }>(UNPARK_CALLBACKS, [
      messageSid,
      message.account_sid,
    ]);
    const outcome = isSecond ? 'accepted_twice' : 'accepted';
    await tx.query(FINISH_ATTEMPT, [message.message_id, attempt, outcome, httpStatus ?? null, null, messageSid]);
    if (isSecond) {
      // On the record, and nothing else: the message stays the text that was known first.
      this.logger.warn(
        { provider: 'twilio', message_sid: messageSid, attempt },
        'a resend turned out to be a second text',
      );
      return;
    }

    const isFirst = message.accepted_at === null;
    // Whatever we believed before, `failed` included, the provider's words start here.
    let state = advance(isFirst ? 'accepted' : message.state, status);
    for (const callback of parked) state = advance(state, callback.status);
    const error = errorCode ?? parked.find((callback) => callback.error_code)?.error_code ?? null;
    const [row] = await tx.query<AcceptedRow>(SET_ACCEPTED, [message.message_id, state, messageSid, error, agoMs]);
    if (!row) throw new Error('the accepted message is not there');
    if (isFirst) {
      this.outbox.publish(tx, OutboundSmsQueued, {
        ...addressOf(message),
        payload: {
          ...identityOf(message),
          message_sid: row.message_sid,
          provider_status: status,
          accepted_at: row.accepted_at.toISOString(),
          evidence,
          stages_ms: {
            webhook: row.webhook_ms,
            outbox_wait: row.outbox_wait_ms,
            handler: row.handler_ms,
            provider: row.provider_ms,
          },
        },
      });
    }
    if (isDelivery(state) && (isFirst || state !== message.state)) {
      await this.announceDelivery(tx, message, row.message_sid, state, error);
    }
  }

  /** A later word about a text that is known to be accepted; one that is behind changes nothing. */
  async progress(tx: Transaction, message: MessageRow, status: string, errorCode: number | undefined): Promise<void> {
    const state = advance(message.state, status);
    if (state === message.state) return;
    await tx.query(SET_STATE, [message.message_id, state, errorCode ?? null]);
    await this.announceDelivery(tx, message, message.message_sid ?? '', state, errorCode ?? null);
  }

  /** The provider, or we ourselves, definitely did not send it. */
  async fail(tx: Transaction, message: MessageRow, reason: string, errorCode: number | undefined): Promise<void> {
    await tx.query(SET_STATE, [message.message_id, 'failed', errorCode ?? null]);
    this.outbox.publish(tx, OutboundSmsFailed, {
      ...addressOf(message),
      payload: { ...identityOf(message), reason, error_code: errorCode ?? null },
    });
  }

  private async announceDelivery(
    tx: Transaction,
    message: MessageRow,
    messageSid: string,
    state: MessageState,
    errorCode: number | null,
  ): Promise<void> {
    this.outbox.publish(tx, DeliveryUpdated, {
      ...addressOf(message),
      payload: { ...identityOf(message), message_sid: messageSid, state, error_code: errorCode },
    });
  }
}

function isDelivery(state: MessageState): boolean {
  return advance('queued', state) !== 'queued';
}

function identityOf(message: MessageRow) {
  return { message_id: message.message_id, trigger_id: message.trigger_id, purpose: message.purpose };
}

function addressOf(message: MessageRow) {
  return { tenantId: message.tenant_id, orderingKey: callerKey(message.tenant_id, message.caller) };
}

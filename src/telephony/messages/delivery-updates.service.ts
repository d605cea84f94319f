import { Injectable } from '@nestjs/common';
import { adoptCorrelation } from '../../common/context/context.js';
import { isUuid } from '../../common/errors/valid.js';
import type { Transaction } from '../../infra/database/database.js';
import { type MessageRow, MessageStates } from './message-states.service.js';
import { LOCK_MESSAGE_OF_CALLBACK, LOCK_SID, PARK_CALLBACK } from './messages.queries.js';

export interface DeliveryReport {
  /** The account that signed it; only its own texts are touched. */
  accountSid: string;
  messageSid: string;
  status: string;
  errorCode?: number;
  /** From the callback's URL, when it is one of ours. */
  messageId?: string;
  attempt?: number;
}

/** Delivery callbacks: in any order, twice, or before our own commit. */
@Injectable()
export class DeliveryUpdates {
  constructor(private readonly states: MessageStates) {}

  /** @returns whose text it is; undefined when nobody knows it yet: then the report is parked, not lost */
  async apply(tx: Transaction, report: DeliveryReport): Promise<string | undefined> {
    const { messageSid, status, errorCode } = report;
    await tx.query(LOCK_SID, [messageSid]);
    const messageId = report.messageId && isUuid(report.messageId) ? report.messageId : null;
    const [message] = await tx.query<MessageRow>(LOCK_MESSAGE_OF_CALLBACK, [messageSid, report.accountSid, messageId]);
    if (!message) {
      await tx.query(PARK_CALLBACK, [messageSid, status, errorCode ?? null, messageId, report.accountSid]);
      return undefined;
    }
    adoptCorrelation(message.correlation_id);
    if (message.message_sid === messageSid) {
      await this.states.progress(tx, message, status, errorCode);
    } else {
      // Ahead of the answer, or of an answer that got lost: the callback itself proves the acceptance.
      const attempt = report.attempt ?? message.attempt;
      await this.states.accept(tx, message, attempt, { messageSid, status, errorCode, evidence: 'callback' });
    }
    return message.tenant_id;
  }
}

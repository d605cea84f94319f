import { randomUUIDv7 } from 'node:crypto';
import { Injectable } from '@nestjs/common';
import { currentCorrelationId } from '../../common/context/context.js';
import { Database, type Transaction } from '../../infra/database/database.js';
import { EffectivelyOnce } from '../../infra/effects/effectively-once.js';
import { countSegments } from '../contracts/gsm7.js';
import type { LineSettings, TextRequest } from '../contracts/telephony.api.js';
import { TelephonyApi } from '../contracts/telephony.api.js';
import { Lines } from '../numbers/lines.service.js';
import type { TextReceipt } from './message-states.service.js';
import { MESSAGE_BY_KEY, REQUEST_MESSAGE } from './messages.queries.js';
import { type Text, Texts } from './texts.service.js';

/** What the other contexts ask of telephony: texts, each recorded with its cause and then sent effectively once. */
@Injectable()
export class Sending extends TelephonyApi {
  private readonly once: EffectivelyOnce<Text, TextReceipt>;

  constructor(
    private readonly lines: Lines,
    database: Database,
    texts: Texts,
  ) {
    super();
    this.once = new EffectivelyOnce(database, texts);
  }

  configureLine(tx: Transaction, tenantId: string, settings: LineSettings): Promise<void> {
    return this.lines.configure(tx, tenantId, settings);
  }

  async requestText(tx: Transaction, request: TextRequest): Promise<string> {
    const messageId = randomUUIDv7();
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
      this.lines.accountSidOf(line),
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

  submit(messageId: string): Promise<void> {
    return this.once.perform(messageId);
  }
}

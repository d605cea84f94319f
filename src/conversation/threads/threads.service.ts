import { randomUUIDv7 } from 'node:crypto';
import { Injectable } from '@nestjs/common';
import type { Transaction } from '../../infra/database/database.js';
import { Outbox } from '../../infra/outbox/outbox.service.js';
import { callerKey } from '../../telephony/contracts/caller-key.js';
import { ConversationStarted } from '../contracts/threads.event.js';
import { OPEN_THREAD, RAISE_URGENCY } from './threads.queries.js';

export interface Contact {
  tenantId: string;
  caller: string;
  businessNumber: string;
  trigger: 'call' | 'text';
  triggerId: string;
}

@Injectable()
export class Threads {
  constructor(private readonly outbox: Outbox) {}

  /** Opens the thread of a caller, or finds it; answers its id. */
  async open(tx: Transaction, contact: Contact): Promise<string> {
    const { tenantId, caller, businessNumber, trigger, triggerId } = contact;
    const [row] = await tx.query<{ thread_id: string; is_new: boolean }>(OPEN_THREAD, [
      randomUUIDv7(),
      tenantId,
      caller,
      businessNumber,
    ]);
    if (!row) throw new Error('the thread was neither inserted nor found');
    if (row.is_new) {
      this.outbox.publish(tx, ConversationStarted, {
        tenantId,
        orderingKey: callerKey(tenantId, caller),
        payload: { thread_id: row.thread_id, caller, business_number: businessNumber, trigger, trigger_id: triggerId },
      });
    }
    return row.thread_id;
  }

  /** Somebody calls again instead of waiting for a text. */
  async raiseUrgency(tx: Transaction, threadId: string): Promise<void> {
    await tx.query(RAISE_URGENCY, [threadId]);
  }
}

import { Injectable } from '@nestjs/common';
import { AppError } from '../../common/errors/app-error.js';
import type { Transaction } from '../../infra/database/database.js';
import { ConversationApi } from '../contracts/conversation.api.js';
import { CLEAR_TEMPLATE, SET_TEMPLATE } from '../threads/threads.queries.js';
import { checkTemplate } from './first-reply.policy.js';

@Injectable()
export class FirstReplyTemplates extends ConversationApi {
  async setFirstReplyTemplate(tx: Transaction, tenantId: string, template: string | null): Promise<void> {
    if (template === null) {
      await tx.query(CLEAR_TEMPLATE, [tenantId]);
      return;
    }
    const check = checkTemplate(template);
    if (!check.ok) {
      throw new AppError({
        code: 'conversation.bad_template',
        status: 422,
        message: 'The first reply cannot be sent as it is',
        details: { problems: check.problems },
      });
    }
    await tx.query(SET_TEMPLATE, [tenantId, template]);
  }
}

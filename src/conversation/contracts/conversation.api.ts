import type { Transaction } from '../../infra/database/database.js';

/** What ops may ask of conversation. */
export abstract class ConversationApi {
  /**
   * Sets the tenant's own first reply, or null for the default.
   * @throws AppError `conversation.bad_template` (422) with everything that is wrong with it
   */
  abstract setFirstReplyTemplate(tx: Transaction, tenantId: string, template: string | null): Promise<void>;
}

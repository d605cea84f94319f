import type { Transaction } from '../../infra/database/database.js';

export interface TextRequest {
  tenantId: string;
  /** What the text is for; decides how long an unknown outcome is looked for, and when the text is too late. */
  purpose: 'first_reply';
  /** One text per key and tenant, however often it is requested. */
  dedupKey: string;
  /** E.164. */
  caller: string;
  /** The business's number the caller knows. */
  businessNumber: string;
  body: string;
  trigger: {
    /** The call or inbound text that is answered. */
    id: string;
    /** Start of the promise, on the database's clock. */
    at: Date;
    /** When its event was recorded, on the database's clock. */
    recordedAt: Date;
  };
  /** Time since the handler of that event began, in ms. */
  handlerElapsedMs: number;
}

export interface LineSettings {
  /** E.164, in order of preference as sender. */
  numbers?: string[];
  voiceMode?: 'forward_target' | 'dial_owner';
  ownerPhone?: string | null;
  messagingServiceSid?: string | null;
  /** One first reply per caller and window. */
  repeatWindowMinutes?: number;
  /** First replies of these hours wait until they end; null: any hour. */
  quietHours?: { start: string; end: string } | null;
  /** The tenant's own subaccount. */
  twilioAccount?: { accountSid: string; authToken: string } | null;
}

/** What conversation and ops may ask of telephony. */
export abstract class TelephonyApi {
  /** Records the intent to send, in the caller's transaction; answers the message's id, old or new. */
  abstract requestText(tx: Transaction, request: TextRequest): Promise<string>;

  /**
   * Brings a requested text to its end: accepted, or definitely failed. Effectively once; safe to call again.
   * @throws Snooze while the outcome is unknown or the provider cannot take it
   * @throws PermanentFailure when a person has to look
   */
  abstract submit(messageId: string): Promise<void>;

  /**
   * Creates or changes the line of a tenant.
   * @throws AppError `telephony.number_taken` (409), `telephony.account_taken` (409),
   * `telephony.owner_phone_required` (422),
   * `telephony.credentials_key_missing` (422)
   */
  abstract configureLine(tx: Transaction, tenantId: string, settings: LineSettings): Promise<void>;
}

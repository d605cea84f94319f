import type { Transaction } from '../../infra/database/database.js';

export const A2P_STATUSES = ['none', 'pending', 'approved', 'rejected'] as const;
export type A2pStatus = (typeof A2P_STATUSES)[number];

/** May we text this person for this business. */
export type Permission = { allowed: true } | { allowed: false; reason: 'opted_out' | 'not_registered' };

export interface InboundKeyword {
  tenantId: string;
  /** E.164. */
  phone: string;
  body: string;
  /** Twilio's `OptOutType`, when the provider itself recognised a keyword. */
  optOutType?: string;
  /** MessageSid. */
  evidenceId: string;
}

/** What other contexts may ask of compliance. Everything is per tenant, and in the caller's transaction. */
export abstract class ComplianceApi {
  /** Checked when a reply is decided, and again in the transaction that marks it for sending. */
  abstract mayText(tx: Transaction, tenantId: string, phone: string): Promise<Permission>;

  /** Records STOP, START and HELP in the consent ledger. Runs before anything else is made of a text. */
  abstract recordKeyword(tx: Transaction, inbound: InboundKeyword): Promise<'stop' | 'start' | 'help' | undefined>;

  /** The provider refused a text because the person had opted out there: our ledger follows. */
  abstract importOptOut(tx: Transaction, tenantId: string, phone: string, evidenceId: string): Promise<void>;

  /** Sets the carrier registration of a tenant; only `approved` may text. */
  abstract setRegistration(tx: Transaction, tenantId: string, status: A2pStatus): Promise<void>;
}

import { Injectable } from '@nestjs/common';
import { currentCorrelationId } from '../../common/context/context.js';
import type { Transaction } from '../../infra/database/database.js';
import { Outbox } from '../../infra/outbox/outbox.service.js';
import type { A2pStatus, InboundKeyword, Permission } from '../contracts/compliance.api.js';
import { ComplianceApi } from '../contracts/compliance.api.js';
import { OptInRecorded, OptOutRecorded } from '../contracts/consent.event.js';
import { LATEST_CONSENT, PERMISSION, RECORD_CONSENT, SET_REGISTRATION } from './consent.queries.js';
import { keywordOf } from './opt-out-keyword.policy.js';

const LEDGER_KIND = { stop: 'opt_out', start: 'opt_in', help: 'help' } as const;
type LedgerKind = (typeof LEDGER_KIND)[keyof typeof LEDGER_KIND];

interface Entry {
  tenantId: string;
  phone: string;
  kind: LedgerKind;
  basis: 'keyword' | 'provider_refusal';
  evidenceId: string;
}

/** The append-only record of who may be texted by whom, and why we believe so. */
@Injectable()
export class ConsentLedger extends ComplianceApi {
  constructor(private readonly outbox: Outbox) {
    super();
  }

  async mayText(tx: Transaction, tenantId: string, phone: string): Promise<Permission> {
    const [row] = await tx.query<{ opted_out: boolean; registered: boolean }>(PERMISSION, [tenantId, phone]);
    if (row?.opted_out) return { allowed: false, reason: 'opted_out' };
    return row?.registered ? { allowed: true } : { allowed: false, reason: 'not_registered' };
  }

  async recordKeyword(tx: Transaction, inbound: InboundKeyword): Promise<'stop' | 'start' | 'help' | undefined> {
    const keyword = keywordOf(inbound.body, inbound.optOutType);
    if (!keyword) return undefined;
    const { tenantId, phone, evidenceId } = inbound;
    await this.record(tx, { tenantId, phone, evidenceId, kind: LEDGER_KIND[keyword], basis: 'keyword' });
    return keyword;
  }

  async importOptOut(tx: Transaction, tenantId: string, phone: string, evidenceId: string): Promise<void> {
    await this.record(tx, { tenantId, phone, evidenceId, kind: 'opt_out', basis: 'provider_refusal' });
  }

  async setRegistration(tx: Transaction, tenantId: string, status: A2pStatus): Promise<void> {
    await tx.query(SET_REGISTRATION, [tenantId, status]);
  }

  private async record(tx: Transaction, entry: Entry): Promise<void> {
    const { tenantId, phone, kind, basis, evidenceId } = entry;
    const [before] = await tx.query<{ kind: LedgerKind }>(LATEST_CONSENT, [tenantId, phone]);
    await tx.query(RECORD_CONSENT, [tenantId, phone, kind, basis, evidenceId, currentCorrelationId()]);
    const changed = kind === 'opt_out' ? before?.kind !== 'opt_out' : kind === 'opt_in' && before?.kind === 'opt_out';
    if (!changed) return;
    const contract = kind === 'opt_out' ? OptOutRecorded : OptInRecorded;
    this.outbox.publish(tx, contract, {
      tenantId,
      orderingKey: evidenceId,
      payload: { phone, basis, evidence_id: evidenceId },
    });
  }
}

import { Injectable } from '@nestjs/common';
import { ComplianceApi } from '../../compliance/contracts/compliance.api.js';
import { ConversationApi } from '../../conversation/contracts/conversation.api.js';
import { Database, type Transaction } from '../../infra/database/database.js';
import { Tenants } from '../../infra/tenancy/tenants.service.js';
import { TelephonyApi } from '../../telephony/contracts/telephony.api.js';
import type { NewTenant, TenantChanges } from './tenants.dto.js';

/** Takes a business in: each context keeps its own part, all of it in one transaction or nothing. */
@Injectable()
export class Onboarding {
  constructor(
    private readonly database: Database,
    private readonly tenants: Tenants,
    private readonly telephony: TelephonyApi,
    private readonly conversation: ConversationApi,
    private readonly compliance: ComplianceApi,
  ) {}

  create(tenant: NewTenant): Promise<string> {
    return this.database.transaction(async (tx) => {
      const tenantId = await this.tenants.create(tx, { name: tenant.name, timeZone: tenant.time_zone });
      await this.configure(tx, tenantId, { a2p_status: 'none', ...tenant });
      return tenantId;
    });
  }

  update(tenantId: string, changes: TenantChanges): Promise<void> {
    return this.database.transaction(async (tx) => {
      await this.tenants.update(tx, tenantId, { name: changes.name, timeZone: changes.time_zone });
      await this.configure(tx, tenantId, changes);
    });
  }

  private async configure(tx: Transaction, tenantId: string, changes: TenantChanges): Promise<void> {
    const account = changes.twilio_account;
    await this.telephony.configureLine(tx, tenantId, {
      numbers: changes.numbers,
      voiceMode: changes.voice_mode,
      ownerPhone: changes.owner_phone,
      messagingServiceSid: changes.messaging_service_sid,
      repeatWindowMinutes: changes.repeat_window_minutes,
      quietHours: changes.first_reply_quiet_hours,
      twilioAccount: account && { accountSid: account.account_sid, authToken: account.auth_token },
    });
    if (changes.a2p_status) await this.compliance.setRegistration(tx, tenantId, changes.a2p_status);
    if (changes.first_reply_template !== undefined) {
      await this.conversation.setFirstReplyTemplate(tx, tenantId, changes.first_reply_template);
    }
  }
}

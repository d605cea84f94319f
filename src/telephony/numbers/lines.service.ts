import { Injectable } from '@nestjs/common';
import { Not } from 'typeorm';
import { AppError } from '../../common/errors/app-error.js';
import { Config } from '../../infra/config/config.js';
import { encrypt } from '../../infra/config/credentials.js';
import type { Transaction } from '../../infra/database/database.js';
import type { GateName } from '../../infra/gates/provider-gates.service.js';
import type { LineSettings } from '../contracts/telephony.api.js';
import { Line } from './line.entity.js';
import { ADD_NUMBERS, LINE_OF_NUMBER, NUMBERS_OF_TENANT, REMOVE_OTHER_NUMBERS } from './lines.queries.js';

/** Tenants' lines and numbers. A number belongs to exactly one tenant. */
@Injectable()
export class Lines {
  constructor(private readonly config: Config) {}

  async configure(tx: Transaction, tenantId: string, settings: LineSettings): Promise<void> {
    const line = (await tx.manager.findOneBy(Line, { tenantId })) ?? tx.manager.create(Line, { tenantId });
    if (settings.voiceMode !== undefined) line.voiceMode = settings.voiceMode;
    if (settings.ownerPhone !== undefined) line.ownerPhone = settings.ownerPhone;
    if (settings.messagingServiceSid !== undefined) line.messagingServiceSid = settings.messagingServiceSid;
    if (settings.repeatWindowMinutes !== undefined) line.repeatWindowMinutes = settings.repeatWindowMinutes;
    if (settings.quietHours !== undefined) {
      line.quietStart = settings.quietHours?.start ?? null;
      line.quietEnd = settings.quietHours?.end ?? null;
    }
    if (settings.twilioAccount !== undefined) {
      line.twilioAccountSid = settings.twilioAccount?.accountSid ?? null;
      line.twilioAuthToken = settings.twilioAccount ? this.seal(settings.twilioAccount.authToken) : null;
    }
    if (line.voiceMode === 'dial_owner' && !line.ownerPhone) {
      throw new AppError({
        code: 'telephony.owner_phone_required',
        status: 422,
        message: 'voice_mode dial_owner needs an owner_phone to ring',
      });
    }
    if (line.twilioAccountSid) await this.requireOwnAccount(tx, line);
    await tx.manager.save(line);
    if (settings.numbers) await this.replaceNumbers(tx, tenantId, settings.numbers);
  }

  get(tx: Transaction, tenantId: string): Promise<Line> {
    return tx.manager.findOneByOrFail(Line, { tenantId });
  }

  /** The account that texts of this line are sent through: its own, or the platform's. */
  accountSidOf({ twilioAccountSid }: Line): string {
    return twilioAccountSid ?? this.config.env.TWILIO_ACCOUNT_SID;
  }

  gateOf(line: Line): GateName {
    return `twilio:${this.accountSidOf(line)}`;
  }

  /** The line that was called or texted; one of the account that signed the webhook, or none. */
  async ofNumber(tx: Transaction, phone: string, accountSid: string): Promise<Line | undefined> {
    const [row] = await tx.query<{ tenant_id: string }>(LINE_OF_NUMBER, [
      phone,
      accountSid,
      accountSid === this.config.env.TWILIO_ACCOUNT_SID,
    ]);
    return row && tx.manager.findOneByOrFail(Line, { tenantId: row.tenant_id });
  }

  async numbersOf(tx: Transaction, tenantId: string): Promise<string[]> {
    const rows = await tx.query<{ phone: string }>(NUMBERS_OF_TENANT, [tenantId]);
    return rows.map(({ phone }) => phone);
  }

  private async replaceNumbers(tx: Transaction, tenantId: string, numbers: readonly string[]): Promise<void> {
    await tx.query(REMOVE_OTHER_NUMBERS, [tenantId, numbers]);
    const kept = await tx.query<{ phone: string; tenant_id: string }>(ADD_NUMBERS, [tenantId, numbers]);
    if (kept.length < numbers.length) {
      throw new AppError({
        code: 'telephony.number_taken',
        status: 409,
        message: 'A number belongs to another tenant',
        details: { numbers: numbers.filter((number) => !kept.some(({ phone }) => phone === number)) },
      });
    }
  }

  /** Two tenants behind one account could sign for each other. */
  private async requireOwnAccount(tx: Transaction, line: Line): Promise<void> {
    const isPlatform = line.twilioAccountSid === this.config.env.TWILIO_ACCOUNT_SID;
    const other = await tx.manager.findOneBy(Line, {
      twilioAccountSid: line.twilioAccountSid ?? undefined,
      tenantId: Not(line.tenantId),
    });
    if (!isPlatform && !other) return;
    throw new AppError({
      code: 'telephony.account_taken',
      status: 409,
      message: "A tenant's Twilio account must be its own: not the platform's, not another tenant's",
    });
  }

  private seal(authToken: string): Buffer {
    const key = this.config.env.CREDENTIALS_KEY;
    if (key) return encrypt(authToken, key);
    throw new AppError({
      code: 'telephony.credentials_key_missing',
      status: 422,
      message: 'Set CREDENTIALS_KEY before storing the auth token of a tenant',
    });
  }
}

import { Injectable } from '@nestjs/common';
import { Config } from '../../../infra/config/config.js';
import { decrypt } from '../../../infra/config/credentials.js';
import { Database } from '../../../infra/database/database.js';
import { TWILIO_ACCOUNT } from '../../numbers/lines.queries.js';

export interface TwilioAccount {
  accountSid: string;
  authToken: string;
}

/** Which token signs for which account: the platform's, or a tenant's own subaccount. */
@Injectable()
export class TwilioAccounts {
  constructor(
    private readonly config: Config,
    private readonly database: Database,
  ) {}

  /** The account of that sid, or undefined when we know of none. */
  async find(accountSid: string): Promise<TwilioAccount | undefined> {
    const { TWILIO_ACCOUNT_SID, TWILIO_AUTH_TOKEN, CREDENTIALS_KEY } = this.config.env;
    if (accountSid === TWILIO_ACCOUNT_SID) return { accountSid, authToken: TWILIO_AUTH_TOKEN };
    if (!CREDENTIALS_KEY) return undefined;
    const [row] = await this.database.query<{ twilio_auth_token: Buffer }>(TWILIO_ACCOUNT, [accountSid]);
    return row && { accountSid, authToken: decrypt(row.twilio_auth_token, CREDENTIALS_KEY) };
  }
}

import { type CanActivate, type ExecutionContext, Injectable } from '@nestjs/common';
import type { FastifyRequest } from 'fastify';
import twilio from 'twilio';
import { AppError } from '../../../common/errors/app-error.js';
import { metrics } from '../../../common/metrics/metrics.js';
import { Config } from '../../../infra/config/config.js';
import { TwilioAccounts } from './twilio-accounts.service.js';
import { parseForm } from './twilio-form.js';

/**
 * Lets only Twilio in: the signature of the account that the form names, over the configured public URL
 * (never over a header a stranger can set) and the form as it was sent. Nothing is read or written before.
 */
@Injectable()
export class TwilioWebhookGuard implements CanActivate {
  constructor(
    private readonly config: Config,
    private readonly accounts: TwilioAccounts,
  ) {}

  async canActivate(context: ExecutionContext): Promise<boolean> {
    const request = context.switchToHttp().getRequest<FastifyRequest & { rawBody?: Buffer }>();
    const form = parseForm(request.rawBody);
    const account = form.first('AccountSid') && (await this.accounts.find(form.first('AccountSid') ?? ''));
    const signature = request.headers['x-twilio-signature'];
    const url = this.config.env.PUBLIC_BASE_URL + request.url;
    if (
      account &&
      typeof signature === 'string' &&
      twilio.validateRequest(account.authToken, signature, url, form.all)
    ) {
      return true;
    }
    metrics.increment('webhook_signature_failures_total', { provider: 'twilio' });
    throw new AppError({ code: 'webhook.bad_signature', status: 403, message: 'The signature does not match' });
  }
}

import { Injectable } from '@nestjs/common';
import type { FastifyRequest } from 'fastify';
import { adoptCorrelation, currentCorrelationId, setTenant } from '../../common/context/context.js';
import { AppError } from '../../common/errors/app-error.js';
import { describeRequest } from '../../common/interceptors/http-edge.interceptor.js';
import type { WebhookEndpoint } from '../../common/metrics/catalogue.js';
import { metrics } from '../../common/metrics/metrics.js';
import { Database, type Transaction } from '../../infra/database/database.js';
import { parseForm, type TwilioForm } from '../integrations/twilio/twilio-form.js';
import { CLAIM_WEBHOOK, FINISH_WEBHOOK, WEBHOOK_ANSWER } from './webhook-events.queries.js';

export interface Intake {
  tx: Transaction;
  form: TwilioForm;
  accountSid: string;
  /** Names whose webhook this is, for the record, the log and the span. */
  belongsTo(tenantId: string): void;
}

interface EarlierWebhook {
  answer: string;
  correlation_id: string;
  tenant_id: string | null;
}

/**
 * One webhook, one transaction: remembered by its signed content, worked on, answered. A repeat gets the same answer
 * and does nothing. If the commit fails or its outcome is unknown, nothing is answered but 503, and Twilio tries again.
 */
@Injectable()
export class WebhookIntake {
  constructor(private readonly database: Database) {}

  /**
   * @param identity names of the signed parameters that make this webhook the same as an earlier one
   * @throws AppError `webhook.malformed` (400) when one of them is missing
   */
  async take(
    request: FastifyRequest & { rawBody?: Buffer },
    endpoint: WebhookEndpoint,
    identity: readonly string[],
    work: (intake: Intake) => Promise<string>,
  ): Promise<string> {
    const form = parseForm(request.rawBody);
    const parts = ['AccountSid', ...identity].map((name) => required(form, name));
    const dedupeKey = [endpoint, ...parts].join(':');
    describeRequest(request, { event_id: dedupeKey, from: form.first('From') });

    return this.database.transaction(async (tx) => {
      // Escaped NUL is what JSON in Postgres refuses.
      const parameters = JSON.stringify(form.all).replaceAll('\\u0000', '\\ufffd');
      const claimed = await tx.query(CLAIM_WEBHOOK, [dedupeKey, endpoint, currentCorrelationId(), parameters]);
      if (claimed.length === 0) {
        metrics.increment('webhook_dedupe_hits_total', { provider: 'twilio' });
        describeRequest(request, { duplicate: true });
        const [earlier] = await tx.query<EarlierWebhook>(WEBHOOK_ANSWER, [dedupeKey]);
        if (!earlier) throw new Error('a webhook is known and not there');
        adoptCorrelation(earlier.correlation_id);
        if (earlier.tenant_id) setTenant(earlier.tenant_id);
        return earlier.answer;
      }
      let tenant: string | null = null;
      const answer = await work({
        tx,
        form,
        accountSid: parts[0] ?? '',
        belongsTo: (tenantId) => {
          tenant = tenantId;
          setTenant(tenantId);
        },
      });
      await tx.query(FINISH_WEBHOOK, [dedupeKey, tenant, answer, currentCorrelationId()]);
      return answer;
    });
  }
}

export function required(form: TwilioForm, name: string): string {
  const value = form.first(name);
  if (value !== undefined) return value;
  throw new AppError({ code: 'webhook.malformed', status: 400, message: `Parameter ${name} is missing` });
}

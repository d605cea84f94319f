import { Injectable } from '@nestjs/common';
import type { BadStage } from '../../common/metrics/labels.js';
import { Database } from '../../infra/database/database.js';
import { type FirstResponse, ReportingApi } from '../contracts/reporting.api.js';
import { FIRST_RESPONSE } from './first-responses.queries.js';

interface Row {
  trigger_kind: 'call' | 'text';
  correlation_id: string;
  detected_at: Date;
  first_sms_at: Date | null;
  excluded_reason: string | null;
  failed_reason: string | null;
  latency_ms: number | null;
  webhook_ms: number | null;
  outbox_wait_ms: number | null;
  handler_ms: number | null;
  provider_ms: number | null;
  bad_stage: BadStage | null;
}

@Injectable()
export class FirstResponses extends ReportingApi {
  constructor(private readonly database: Database) {
    super();
  }

  async firstResponse(correlationId: string): Promise<FirstResponse | undefined> {
    const [row] = await this.database.query<Row>(FIRST_RESPONSE, [correlationId]);
    if (!row) return undefined;
    return {
      triggerKind: row.trigger_kind,
      correlationId: row.correlation_id,
      detectedAt: row.detected_at,
      firstSmsAt: row.first_sms_at,
      latencyMs: row.latency_ms,
      excludedReason: row.excluded_reason,
      failedReason: row.failed_reason,
      badStage: row.bad_stage,
      stagesMs:
        row.first_sms_at === null
          ? null
          : {
              webhook: row.webhook_ms ?? 0,
              outboxWait: row.outbox_wait_ms ?? 0,
              handler: row.handler_ms ?? 0,
              provider: row.provider_ms ?? 0,
            },
    };
  }
}

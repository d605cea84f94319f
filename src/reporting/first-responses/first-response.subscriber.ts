import { Injectable } from '@nestjs/common';
import { metrics } from '../../common/metrics/metrics.js';
import { keepCurrentTrace } from '../../common/tracing/kept-traces.js';
import { Database, type Transaction } from '../../infra/database/database.js';
import { consumeOnce } from '../../infra/outbox/consume-once.js';
import type { EventOf } from '../../infra/outbox/event.js';
import { OnOutboxEvent } from '../../infra/outbox/on-outbox-event.decorator.js';
import { CallDetected } from '../../telephony/contracts/calls.event.js';
import { InboundSmsReceived, OutboundSmsFailed, OutboundSmsQueued } from '../../telephony/contracts/messages.event.js';
import { Ledger } from '../ledger/ledger.service.js';
import { FILE_EXCLUSION } from '../slo/budget.queries.js';
import { FIRST_SMS } from '../slo/objectives.js';
import { TRACK_ACCEPTED, TRACK_FAILED, TRACK_TRIGGER } from './first-responses.queries.js';

const NAME = 'reporting.first_response';

interface Excluded {
  tenant_id: string;
  detected_at: Date;
}

/** The first-response tracker: from the missed call to the text accepted, per call. */
@Injectable()
export class FirstResponseSubscriber {
  constructor(
    private readonly database: Database,
    private readonly ledger: Ledger,
  ) {}

  @OnOutboxEvent(CallDetected, { name: NAME })
  async onCall({ payload, tenantId, correlationId, eventId }: EventOf<typeof CallDetected>): Promise<void> {
    const excluded = payload.decision === 'reply' ? null : payload.reason;
    await this.database.transaction(async (tx) => {
      if (!(await consumeOnce(tx, NAME, eventId))) return;
      await tx.query(TRACK_TRIGGER, [payload.call_id, tenantId, correlationId, 'call', payload.missed_at, excluded]);
      if (excluded) await this.exclude(tx, tenantId, payload.missed_at, excluded);
    });
  }

  @OnOutboxEvent(InboundSmsReceived, { name: NAME })
  async onText({ payload, tenantId, correlationId, eventId }: EventOf<typeof InboundSmsReceived>): Promise<void> {
    if (payload.decision === 'none') return;
    await this.database.transaction(async (tx) => {
      if (!(await consumeOnce(tx, NAME, eventId))) return;
      const { message_id, received_at, reason } = payload;
      await tx.query(TRACK_TRIGGER, [message_id, tenantId, correlationId, 'text', received_at, reason]);
      if (reason) await this.exclude(tx, tenantId, received_at, reason);
    });
  }

  @OnOutboxEvent(OutboundSmsQueued, { name: NAME })
  async onAccepted({ payload, tenantId, correlationId }: EventOf<typeof OutboundSmsQueued>): Promise<void> {
    if (payload.purpose !== 'first_reply') return;
    const { webhook, outbox_wait, handler, provider } = payload.stages_ms;
    const [row] = await this.database.query<{ latency_ms: number; excluded_reason: string | null }>(TRACK_ACCEPTED, [
      payload.trigger_id,
      tenantId,
      correlationId,
      payload.accepted_at,
      payload.message_sid,
      webhook,
      outbox_wait,
      handler,
      provider,
    ]);
    if (!row || row.excluded_reason) return;
    metrics.observe('first_sms_latency_ms', row.latency_ms);
    if (row.latency_ms > FIRST_SMS.thresholdSeconds * 1000) keepCurrentTrace('slo_breach');
  }

  @OnOutboxEvent(OutboundSmsFailed, { name: NAME })
  async onFailed({ payload }: EventOf<typeof OutboundSmsFailed>): Promise<void> {
    if (payload.purpose !== 'first_reply') return;
    await this.database.transaction(async (tx) => {
      const taken = await tx.query<Excluded>(TRACK_FAILED, [payload.trigger_id, payload.reason]);
      for (const { tenant_id, detected_at } of taken) await this.exclude(tx, tenant_id, detected_at, payload.reason);
    });
  }

  /** Counted by reason, in total and where it happened: an objective must not get better by leaving calls out unseen. */
  private async exclude(tx: Transaction, tenantId: string, detectedAt: string | Date, reason: string): Promise<void> {
    await this.ledger.add(tx, 'slo_first_sms_excluded_total', 1, reason);
    await tx.query(FILE_EXCLUSION, [detectedAt, tenantId, reason]);
  }
}

import { randomUUIDv7 } from 'node:crypto';
import { Injectable } from '@nestjs/common';
import { adoptCorrelation, currentCorrelationId } from '../../common/context/context.js';
import { ComplianceApi } from '../../compliance/contracts/compliance.api.js';
import type { Transaction } from '../../infra/database/database.js';
import { Outbox } from '../../infra/outbox/outbox.service.js';
import { classifyCaller } from '../calls/caller.policy.js';
import { OPEN_REPLY_WINDOW } from '../calls/calls.queries.js';
import { callerKey } from '../contracts/caller-key.js';
import { InboundSmsReceived } from '../contracts/messages.event.js';
import type { TwilioForm } from '../integrations/twilio/twilio-form.js';
import type { Line } from '../numbers/line.entity.js';
import { IS_PLATFORM_NUMBER } from '../numbers/lines.queries.js';
import { Lines } from '../numbers/lines.service.js';
import { LATEST_JOURNEY, STORE_INBOUND } from './messages.queries.js';

/** Texts from callers: kept first, consent before anything else, then told to whoever listens. */
@Injectable()
export class InboundTexts {
  constructor(
    private readonly lines: Lines,
    private readonly compliance: ComplianceApi,
    private readonly outbox: Outbox,
  ) {}

  async receive(tx: Transaction, line: Line, form: TwilioForm, elapsedMs: () => number): Promise<void> {
    const { tenantId } = line;
    const sender = classifyCaller(form.first('From'));
    const caller = sender.kind === 'reachable' ? sender.phone : sender.raw;
    const [journey] = await tx.query<{ correlation_id: string; recent: boolean }>(LATEST_JOURNEY, [tenantId, caller]);
    if (journey?.recent) adoptCorrelation(journey.correlation_id);

    const messageId = randomUUIDv7();
    const messageSid = form.first('MessageSid') ?? '';
    const body = form.first('Body') ?? '';
    const businessNumber = form.first('To') ?? '';
    const [stored] = await tx.query<{ triggered_at: Date }>(STORE_INBOUND, [
      messageId,
      tenantId,
      `inbound:${messageSid}`,
      currentCorrelationId(),
      caller,
      businessNumber,
      form.first('AccountSid'),
      body,
      elapsedMs(),
      Number(form.first('NumSegments')) || 1,
      messageSid,
    ]);
    if (!stored) throw new Error('the inbound text was not stored');
    const keyword = await this.compliance.recordKeyword(tx, {
      tenantId,
      phone: caller,
      body,
      optOutType: form.first('OptOutType'),
      evidenceId: messageSid,
    });
    this.outbox.publish(tx, InboundSmsReceived, {
      tenantId,
      orderingKey: callerKey(tenantId, caller),
      payload: {
        message_id: messageId,
        message_sid: messageSid,
        caller,
        business_number: businessNumber,
        received_at: stored.triggered_at.toISOString(),
        keyword: keyword ?? null,
        sending_gate: this.lines.gateOf(line),
        ...(journey || keyword
          ? { decision: 'none', reason: null }
          : await this.decide(tx, line, caller, sender.kind, messageId)),
      },
    });
  }

  /** The first text ever of this person is owed a first reply, as a missed call is. */
  private async decide(
    tx: Transaction,
    line: Line,
    caller: string,
    kind: string,
    messageId: string,
  ): Promise<{ decision: 'reply' | 'suppress' | 'none'; reason: string | null }> {
    const reason = await this.suppression(tx, line, caller, kind);
    if (reason) return { decision: 'suppress', reason };
    const window = [line.tenantId, caller, messageId, line.repeatWindowMinutes, null];
    const won = await tx.query(OPEN_REPLY_WINDOW, window);
    return { decision: won.length > 0 ? 'reply' : 'none', reason: null };
  }

  private async suppression(tx: Transaction, line: Line, caller: string, kind: string): Promise<string | null> {
    if (kind !== 'reachable') return kind;
    if (caller === line.ownerPhone) return 'own_number';
    const [platform] = await tx.query<{ known: boolean }>(IS_PLATFORM_NUMBER, [caller]);
    if (platform?.known) return 'platform_number';
    const permission = await this.compliance.mayText(tx, line.tenantId, caller);
    return permission.allowed ? null : permission.reason;
  }
}

import { randomUUIDv7 } from 'node:crypto';
import { Injectable } from '@nestjs/common';
import { adoptCorrelation, currentCorrelationId } from '../../common/context/context.js';
import { ComplianceApi } from '../../compliance/contracts/compliance.api.js';
import type { Transaction } from '../../infra/database/database.js';
import { Outbox } from '../../infra/outbox/outbox.service.js';
import { Tenants } from '../../infra/tenancy/tenants.service.js';
import { callerKey } from '../contracts/caller-key.js';
import { CallDetected, CallReplyDeferred, CallReplySuppressed, type MissedCall } from '../contracts/calls.event.js';
import type { Line } from '../numbers/line.entity.js';
import { IS_PLATFORM_NUMBER } from '../numbers/lines.queries.js';
import { Lines } from '../numbers/lines.service.js';
import { classifyCaller } from './caller.policy.js';
import { DECIDE_CALL, LOCK_CALL, MARK_ANSWERED, OPEN_REPLY_WINDOW } from './calls.queries.js';
import { type CallEvidence, determineCall } from './missed-call.policy.js';
import { decideReply, type ReplyDecision } from './reply-decision.policy.js';

/** What a webhook says about a call. */
export interface CallSighting {
  source: CallEvidence['source'];
  callSid: string;
  status: string;
  from: string;
  to: string;
  forwardedFrom?: string;
  durationSeconds?: number;
  /** Our answer to this webhook rings the owner. */
  dials: boolean;
  /** Time since the webhook was received, in ms. */
  elapsedMs: () => number;
}

/** The decision of a call so far; undefined while nobody knows whether it was missed. */
export type CallDecision = ReplyDecision['decision'] | undefined;

interface CallRow {
  call_id: string;
  caller: string;
  called_number: string;
  forwarded_from: string | null;
  correlation_id: string;
  dialed: boolean;
  answered_at: Date | null;
  decision: ReplyDecision['decision'] | null;
}

/** Decides missed calls: once per CallSid, whatever arrives in whatever order. */
@Injectable()
export class Calls {
  constructor(
    private readonly lines: Lines,
    private readonly compliance: ComplianceApi,
    private readonly tenants: Tenants,
    private readonly outbox: Outbox,
  ) {}

  async see(tx: Transaction, line: Line, sighting: CallSighting): Promise<CallDecision> {
    const caller = classifyCaller(sighting.from);
    const [call] = await tx.query<CallRow>(LOCK_CALL, [
      randomUUIDv7(),
      line.tenantId,
      sighting.callSid,
      caller.kind === 'reachable' ? caller.phone : caller.raw,
      sighting.to,
      sighting.forwardedFrom ?? null,
      currentCorrelationId(),
      sighting.dials,
    ]);
    if (!call) throw new Error('the call was neither inserted nor found');
    adoptCorrelation(call.correlation_id);
    if (call.decision) return call.decision;

    const outcome = determineCall({
      voiceMode: line.voiceMode,
      source: sighting.source,
      status: sighting.status,
      durationSeconds: sighting.durationSeconds,
      shortCallSeconds: line.shortCallSeconds ?? undefined,
      alreadyAnswered: call.answered_at !== null,
      dialed: call.dialed,
    });
    if (outcome === 'answered' && !call.answered_at) await tx.query(MARK_ANSWERED, [call.call_id]);
    return outcome === 'missed' ? this.decide(tx, line, call, sighting) : undefined;
  }

  private async decide(
    tx: Transaction,
    line: Line,
    call: CallRow,
    sighting: CallSighting,
  ): Promise<ReplyDecision['decision']> {
    const decision = await this.weigh(tx, line, call);
    const reason = 'reason' in decision ? decision.reason : null;
    const [row] = await tx.query<{ missed_at: Date }>(DECIDE_CALL, [
      call.call_id,
      decision.decision,
      reason,
      untilOf(decision),
      sighting.elapsedMs(),
    ]);
    if (!row) throw new Error('the call was decided twice');
    await this.announce(tx, line, decision, {
      call_id: call.call_id,
      call_sid: sighting.callSid,
      caller: call.caller,
      business_number: call.called_number,
      missed_at: row.missed_at.toISOString(),
      sending_gate: this.lines.gateOf(line),
      decision: decision.decision,
      reason,
    });
    return decision.decision;
  }

  /** Gathers the facts; the window is opened last, because opening it is what makes the next call a repeat. */
  private async weigh(tx: Transaction, line: Line, call: CallRow): Promise<ReplyDecision> {
    const caller = classifyCaller(call.caller);
    const [platform] = await tx.query<{ known: boolean }>(IS_PLATFORM_NUMBER, [call.caller]);
    const facts = {
      caller,
      forwardedFrom: call.forwarded_from ?? undefined,
      tenantNumbers: await this.lines.numbersOf(tx, line.tenantId),
      ownerPhone: line.ownerPhone ?? undefined,
      isPlatformNumber: platform?.known ?? false,
      compliance: await this.compliance.mayText(tx, line.tenantId, call.caller),
      quietHours: await this.quietHours(tx, line),
      now: new Date(),
    };
    const decision = decideReply({ ...facts, repeatWithinWindow: false });
    if (decision.decision === 'suppress') return decision;
    const won = await tx.query(OPEN_REPLY_WINDOW, [
      line.tenantId,
      call.caller,
      call.call_id,
      line.repeatWindowMinutes,
      untilOf(decision),
    ]);
    return won.length > 0 ? decision : decideReply({ ...facts, repeatWithinWindow: true });
  }

  private async quietHours(tx: Transaction, line: Line) {
    if (!line.quietStart || !line.quietEnd) return undefined;
    const { timeZone } = await this.tenants.get(tx, line.tenantId);
    return { start: line.quietStart, end: line.quietEnd, timeZone };
  }

  private async announce(tx: Transaction, line: Line, decision: ReplyDecision, call: MissedCall): Promise<void> {
    const { tenantId } = line;
    const orderingKey = callerKey(tenantId, call.caller);
    this.outbox.publish(tx, CallDetected, { tenantId, orderingKey, payload: call });
    if (decision.decision === 'suppress') {
      const payload = { ...call, reason: decision.reason };
      this.outbox.publish(tx, CallReplySuppressed, { tenantId, orderingKey, payload });
    }
    if (decision.decision === 'defer') {
      const payload = { ...call, reason: decision.reason, deferred_until: decision.until.toISOString() };
      this.outbox.publish(tx, CallReplyDeferred, { tenantId, orderingKey, payload });
    }
  }
}

function untilOf(decision: ReplyDecision): Date | null {
  return decision.decision === 'defer' ? decision.until : null;
}

import { Injectable } from '@nestjs/common';
import { PinoLogger } from 'nestjs-pino';
import { Database } from '../../infra/database/database.js';
import { PermanentFailure, Snooze } from '../../infra/outbox/outbox.errors.js';
import { type ListedMessage, TwilioClient } from '../integrations/twilio/twilio.client.js';
import type { TwilioAccount } from '../integrations/twilio/twilio-accounts.service.js';
import { type MessageRow, MessageStates } from './message-states.service.js';
import { OPEN_ATTEMPTS, SET_STATE, SIDS_OF_OTHERS } from './messages.queries.js';
import {
  attemptOf,
  backoffMs,
  isSame,
  isTooLate,
  MAX_RESENDS,
  nextLookInMs,
  SendingTimings,
} from './sending.policy.js';

export interface OpenAttempt {
  attempt: number;
  age_ms: number;
}

/** Finds out what became of a text that may be with the provider. */
@Injectable()
export class Reconciliation {
  constructor(
    private readonly database: Database,
    private readonly twilio: TwilioClient,
    private readonly states: MessageStates,
    private readonly timings: SendingTimings,
    private readonly logger: PinoLogger,
  ) {}

  /**
   * Looks for the text at the provider and adopts it if it is there.
   * @returns `absent` only when it was looked for late enough and not found, and may be sent again
   * @throws Snooze while it is too early to tell, or the provider cannot be asked
   * @throws PermanentFailure when a person has to look
   */
  async settle(account: TwilioAccount, message: MessageRow): Promise<'settled' | 'absent'> {
    // Ages are taken before the look for "late enough", and with its duration added for "is it ours".
    const startedAt = performance.now();
    const attempts = await this.database.query<OpenAttempt>(OPEN_ATTEMPTS, [message.message_id]);
    const listed = await this.list(account, message);
    const tookMs = performance.now() - startedAt;
    if (listed && (await this.adopt(message, attempts, listed, tookMs))) return 'settled';
    const verdict = await this.weigh(message, attempts, listed && { tookMs });
    if (typeof verdict === 'number') throw new Snooze(verdict, 'reconciling');
    if (verdict !== 'needs_review') return verdict;
    throw new PermanentFailure('telephony.needs_review', 'The outcome of a text could not be established');
  }

  /** @returns undefined when the provider could not be asked: then nothing is known to be absent */
  private list(account: TwilioAccount, message: MessageRow): Promise<ListedMessage[] | undefined> {
    return this.twilio.listMessagesTo(account, message.caller).catch((error: unknown) => {
      this.logger.warn({ err: error, provider: 'twilio' }, 'the provider could not be asked for a lost answer');
      return undefined;
    });
  }

  /** @returns whether a text of ours was there */
  private async adopt(
    message: MessageRow,
    attempts: readonly OpenAttempt[],
    listed: readonly ListedMessage[],
    tookMs: number,
  ): Promise<boolean> {
    const sought = {
      body: message.body,
      businessNumber: message.business_number,
      messagingServiceSid: message.messaging_service_sid,
      ageMs: (attempts[0]?.age_ms ?? 0) + tookMs,
    };
    // Listed newest first; whole seconds tie, so the order decides.
    const found = listed.filter((candidate) => isSame(candidate, sought)).toReversed();
    if (found.length === 0) return false;
    const sids = found.map(({ messageSid }) => messageSid);
    return this.database.transaction(async (tx) => {
      let current = await this.states.lock(tx, message.message_id, sids);
      const others = await tx.query<{ message_sid: string }>(SIDS_OF_OTHERS, [sids, message.message_id]);
      const ours = found.filter(({ messageSid }) => !others.some((other) => other.message_sid === messageSid));
      // The oldest is the text; any other is a resend's, and goes on the record.
      const free = [...attempts];
      for (const { messageSid, status, ageMs } of ours) {
        if (!current) break;
        const nearest = attemptOf(ageMs - tookMs, free);
        if (nearest) free.splice(free.indexOf(nearest), 1);
        const attempt = nearest?.attempt ?? current.attempt;
        this.logger.info({ provider: 'twilio', message_sid: messageSid, attempt }, 'lost answer found');
        await this.states.accept(tx, current, { messageSid, status, attempt, evidence: 'reconciled', agoMs: 0 });
        current = await this.states.lock(tx, message.message_id);
      }
      return ours.length > 0;
    });
  }

  /** What its absence means, as far as it is known; a number is the wait until the next look, in ms. */
  private weigh(
    message: MessageRow,
    attempts: readonly OpenAttempt[],
    look: { tookMs: number } | undefined,
  ): Promise<'settled' | 'absent' | 'needs_review' | number> {
    return this.database.transaction(async (tx) => {
      // A callback, or another process, may have been faster than the list.
      const current = await this.states.lock(tx, message.message_id);
      if (!current || current.accepted_at || current.state === 'failed') return 'settled';
      const looks = this.timings.lookAtMs[message.purpose];
      const last = attempts.at(-1);
      if (!last || current.attempt !== message.attempt) return looks[0] ?? 0;
      if (!look && !isTooLate(message.purpose, message.age_ms)) {
        return backoffMs(3, Math.random(), this.timings.backoffBaseMs);
      }
      const nextLook = nextLookInMs(looks, last.age_ms);
      if (look && nextLook !== undefined) return Math.max(0, Math.ceil(nextLook - look.tookMs));
      // Who redrives a dead letter has looked, and wants it sent.
      const redriven = message.state === 'needs_review';
      const state = !look || (attempts.length > MAX_RESENDS && !redriven) ? 'needs_review' : 'unknown';
      await tx.query(SET_STATE, [message.message_id, state, null]);
      return state === 'unknown' ? 'absent' : state;
    });
  }
}

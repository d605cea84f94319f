import type { Database, Transaction } from '../database/database.js';
import { PermanentFailure, Snooze } from '../outbox/outbox.errors.js';
import type { Effect, Found, Intent, OpenAttempt, Outcome } from './effect.js';
import {
  attemptOf,
  decideAbsence,
  decideAnswer,
  firstLookMs,
  isOfOurTime,
  isOver,
  isTooLate,
} from './effect.policy.js';

/**
 * Carries an intent out effectively once over a provider that has no idempotency key. The intent is on record before
 * the provider is asked, and each request is marked in a commit of its own; a definite answer is acted on; an unknown
 * outcome is looked for at the provider and only then, once per ambiguous request, asked for again. No transaction is
 * open while the provider is asked. See docs/adr/0003 and 0009.
 */
export class EffectivelyOnce<I extends Intent, Receipt> {
  constructor(
    private readonly database: Database,
    private readonly effect: Effect<I, Receipt>,
  ) {}

  /**
   * Brings an intent to its end, or as far as it comes now. Safe to call again, by any number of processes.
   * @throws Snooze while the outcome is unknown or the provider does not take it
   * @throws PermanentFailure when a person has to look (`<context>.needs_review`) or to repair something
   * (`<context>.<reason of the refusal>`)
   */
  async perform(id: string): Promise<void> {
    const intent = await this.effect.read(id);
    if (intent.phase === 'settled') return;
    if (intent.phase === 'requested') return this.request(id, intent, false);
    // Its dead letter was redriven: what the provider refused it for may have been repaired.
    if (intent.phase === 'refused') return this.request(id, intent, (await this.effect.openAttempts(id)).length > 0);
    if ((await this.reconcile(id, intent)) === 'absent') return this.request(id, intent, true);
  }

  private async request(id: string, intent: I, resend: boolean): Promise<void> {
    const timings = this.effect.timings(intent);
    const ask = await this.effect.prepare(intent);
    // Before the marker: a freeze while it is being committed counts as well.
    const markingAt = performance.now();
    const attempt = await this.mark(id, intent, resend);
    if (attempt === 'settled') return;
    // Whoever took it may die: somebody has to come back.
    if (attempt === 'taken') throw new Snooze(firstLookMs(timings), 'in_other_hands');
    const isStale = performance.now() - markingAt > timings.staleMarkerMs;
    await this.conclude(id, attempt, isStale ? { kind: 'not_processed', httpStatus: 'stale' } : await ask(attempt));
  }

  /** In the transaction that makes the intent count as perhaps done. */
  private mark(id: string, intent: I, resend: boolean): Promise<number | 'settled' | 'taken'> {
    return this.database.transaction(async (tx) => {
      const current = await this.effect.lock(tx, id);
      if (!current || (isOver(current) && current.phase !== intent.phase)) return 'settled';
      if (current.attempt !== intent.attempt) return 'taken';
      const reason =
        (await this.effect.objection(tx, current)) ??
        (isTooLate(intent, this.effect.timings(current)) ? 'too_late' : undefined);
      if (reason === undefined) return (await this.effect.mark(tx, current, resend)) ?? 'taken';
      if (current.phase !== 'refused') await this.effect.fail(tx, current, { reason });
      return 'settled';
    });
  }

  private async conclude(id: string, attempt: number, outcome: Outcome<Receipt>): Promise<void> {
    const receipts = outcome.kind === 'accepted' ? [outcome.receipt] : [];
    const unfinished = await this.database.transaction(async (tx) => {
      const current = await this.effect.lock(tx, id, receipts);
      return current && this.take(tx, id, current, attempt, outcome);
    });
    if (unfinished) throw unfinished;
  }

  /** @returns what the outbox has to hear: when to go on, or that a person has to; undefined when nothing is left to do */
  private async take(
    tx: Transaction,
    id: string,
    current: I,
    attempt: number,
    outcome: Outcome<Receipt>,
  ): Promise<Snooze | PermanentFailure | undefined> {
    if (outcome.kind === 'accepted') return void (await this.effect.accept(tx, current, attempt, outcome.receipt));
    await this.effect.record(tx, current, attempt, outcome);
    const open = await this.effect.openAttempts(id, tx);
    const timings = this.effect.timings(current);
    const { phase, delayMs } = decideAnswer({ outcome, attempt, intent: current, open }, timings, Math.random());
    if (phase === 'failed' && outcome.kind === 'refused') {
      await this.effect.fail(tx, current, outcome);
      if (!outcome.isRepairable) return undefined;
      return new PermanentFailure(
        `${this.effect.context}.${outcome.reason}`,
        'The provider refused it because of the account',
      );
    }
    if (phase && phase !== 'failed') await this.effect.setPhase(tx, current, phase);
    if (delayMs === undefined) return undefined;
    return new Snooze(delayMs, outcome.kind === 'unknown' ? 'reconciling' : 'provider_not_accepting');
  }

  /** Looks for the effect at the provider and adopts it if it is there; `absent` only when it may be asked for again. */
  private async reconcile(id: string, intent: I): Promise<'settled' | 'absent'> {
    // Ages are taken before the look for "late enough", and with its duration added for "is it ours".
    const startedAt = performance.now();
    const open = await this.effect.openAttempts(id);
    const listed = await this.effect.look(intent);
    const tookMs = performance.now() - startedAt;
    const found = listed?.filter(({ ageMs }) => isOfOurTime(ageMs, (open[0]?.age_ms ?? 0) + tookMs)) ?? [];
    if (found.length > 0 && (await this.adopt(id, intent, open, found, tookMs))) return 'settled';
    const verdict = await this.weigh(id, intent, open, listed && tookMs);
    if (typeof verdict === 'number') throw new Snooze(verdict, 'reconciling');
    if (verdict !== 'needs_review') return verdict;
    throw new PermanentFailure(
      `${this.effect.context}.needs_review`,
      'The outcome of a request could not be established',
    );
  }

  /** @returns whether something of ours was there */
  private adopt(id: string, intent: I, open: readonly OpenAttempt[], found: readonly Found<Receipt>[], tookMs: number) {
    return this.database.transaction(async (tx) => {
      const receipts = found.map(({ receipt }) => receipt);
      let current = await this.effect.lock(tx, id, receipts);
      const ours = await this.effect.unclaimed(tx, intent, found);
      // The oldest is what was asked for; any other is a resend's, and goes on the record.
      const free = [...open];
      for (const { receipt, ageMs } of ours) {
        if (!current) break;
        const nearest = attemptOf(ageMs - tookMs, free);
        if (nearest) free.splice(free.indexOf(nearest), 1);
        await this.effect.accept(tx, current, nearest?.attempt ?? current.attempt, receipt);
        current = await this.effect.lock(tx, id);
      }
      return ours.length > 0;
    });
  }

  private weigh(id: string, intent: I, open: readonly OpenAttempt[], tookMs: number | undefined) {
    return this.database.transaction(async (tx) => {
      // A callback, or another process, may have been faster than the look.
      const now = await this.effect.lock(tx, id);
      if (!now || isOver(now)) return 'settled';
      const verdict = decideAbsence({ tookMs, before: intent, now, open }, this.effect.timings(now), Math.random());
      if (verdict === 'absent') await this.effect.setPhase(tx, now, 'unknown');
      if (verdict === 'needs_review') await this.effect.setPhase(tx, now, 'needs_review');
      return verdict;
    });
  }
}

import { AppError } from '../../common/errors/app-error.js';
import { redactText } from '../../common/logging/redactor.js';
import { PermanentFailure, Snooze } from './outbox.errors.js';
import { backoffCeilingMs, decideFailure, fingerprintOf, MAX_ATTEMPTS } from './retry.policy.js';

const BASE_MS = 1_000;
const failed = new Error('boom');
const asking = (afterMs: number) => new AppError({ code: 'x.y', status: 503, message: 'm', retry: { afterMs } });

describe('what a failed run means', () => {
  it('doubles the ceiling from the base and caps it at 30 s', () => {
    const ceilings = [1, 2, 3, 4, 5, 6, 60, 2_000].map((failures) => backoffCeilingMs(failures, BASE_MS));
    expect(ceilings).toEqual([1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000]);
    expect(backoffCeilingMs(1, 250)).toBe(250);
  });

  it('spreads retries over the whole interval, from nothing to the ceiling', () => {
    for (let attempt = 1; attempt < MAX_ATTEMPTS; attempt++) {
      const ceiling = backoffCeilingMs(attempt, BASE_MS);
      expect(decideFailure(failed, attempt, BASE_MS, 0)).toEqual({ kind: 'retry', delayMs: 0 });
      expect(decideFailure(failed, attempt, BASE_MS, 0.5)).toEqual({ kind: 'retry', delayMs: ceiling / 2 });
      expect(decideFailure(failed, attempt, BASE_MS, 1 - 1e-9)).toEqual({ kind: 'retry', delayMs: ceiling });
    }
  });

  it('gives up at the sixth attempt, not before', () => {
    expect(decideFailure(failed, 5, BASE_MS, 0.5).kind).toBe('retry');
    expect(decideFailure(failed, 6, BASE_MS, 0.5)).toEqual({ kind: 'dead_letter', reason: 'attempts_exhausted' });
    expect(decideFailure(asking(10), 6, BASE_MS, 0.5)).toEqual({ kind: 'dead_letter', reason: 'attempts_exhausted' });
  });

  it('waits about half a second for what nobody can be blamed for, and never gives up over it', () => {
    const unblamed = new AppError({ code: 'x.y', status: 503, message: 'm', retry: 'unblamed' });
    expect(decideFailure(unblamed, 60, BASE_MS, 0)).toEqual({ kind: 'snooze', delayMs: 250 });
    expect(decideFailure(unblamed, 60, BASE_MS, 1 - 1e-9)).toEqual({ kind: 'snooze', delayMs: 750 });
  });

  it('believes an error that says what a retry means', () => {
    expect(decideFailure(new PermanentFailure('x.y', 'm'), 1, BASE_MS, 0.5)).toEqual({
      kind: 'dead_letter',
      reason: 'permanent',
    });
    expect(decideFailure(asking(45_000), 1, BASE_MS, 0.5)).toEqual({ kind: 'retry', delayMs: 45_000 });
    const refused = new AppError({ code: 'x.y', status: 404, message: 'm' });
    expect(decideFailure(refused, 1, BASE_MS, 0.5).kind).toBe('dead_letter');
    expect(decideFailure('not even an error', 1, BASE_MS, 0.5).kind).toBe('retry');
  });

  it('snoozes without counting attempts, for as long as it takes', () => {
    expect(decideFailure(new Snooze(2_000, 'busy'), 6, BASE_MS, 0.5)).toEqual({ kind: 'snooze', delayMs: 2_000 });
  });

  it('takes no impossible delay from an error', () => {
    const delays = [-5, 0.4, Number.NaN, Number.POSITIVE_INFINITY, 1e15].map((ms) => {
      const decision = decideFailure(new Snooze(ms, 'busy'), 1, BASE_MS, 0.5);
      return 'delayMs' in decision ? decision.delayMs : undefined;
    });
    expect(delays).toEqual([0, 0, 30_000, 30_000, 7 * 86_400_000]);
    expect(decideFailure(asking(-1), 1, BASE_MS, 0.5)).toEqual({ kind: 'retry', delayMs: 0 });
  });

  it('groups errors by code and shape, without their numbers and ids', () => {
    const one = new AppError({ code: 'x.y', status: 500, message: 'row 17 of 0190c1b2-aaaa-7bbb-8ccc-0123456789ab' });
    const two = new AppError({ code: 'x.y', status: 500, message: 'row 4 of 0190c1b2-ffff-7bbb-8ccc-ba9876543210' });
    expect(fingerprintOf(one)).toBe('x.y: row <n> of <id>');
    expect(fingerprintOf(two)).toBe(fingerprintOf(one));
    expect(fingerprintOf(new Error('x'.repeat(500))).length).toBeLessThanOrEqual(200);
  });

  it('keeps no personal data of an error, and what it keeps reads the same when it is redacted again', () => {
    const kept = fingerprintOf(
      new Error(`+14155550132 and jo.doe42@example.com ${'x'.repeat(120)} jo.doe42@example.com`),
    );
    expect(kept).not.toMatch(/4155|example|doe/);
    expect(redactText(kept)).toBe(kept);
  });
});

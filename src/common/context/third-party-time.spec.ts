import fc from 'fast-check';
import { type Context, runInContext } from './context.js';
import { coveredMs, type Interval, noteThirdParties, waitingForThirdParty } from './third-party-time.js';

const interval = (most: number) =>
  fc.tuple(fc.nat(most), fc.nat(most)).map(([a, b]): Interval => ({ from: Math.min(a, b), to: Math.max(a, b) }));

describe('the union of intervals', () => {
  it('is what a count of each millisecond says, whatever overlaps, touches, nests or sticks out', () => {
    const naive = (intervals: Interval[], within: Interval): number => {
      let count = 0;
      for (let ms = within.from; ms < within.to; ms++)
        if (intervals.some(({ from, to }) => from <= ms && ms < to)) count++;
      return count;
    };
    fc.assert(
      fc.property(fc.array(interval(60), { maxLength: 12 }), interval(60), (intervals, within) => {
        expect(coveredMs(intervals, within)).toBe(naive(intervals, within));
      }),
      { numRuns: 2_000 },
    );
  });

  it('counts two that run side by side once, and one that has not ended up to the end', () => {
    const within = { from: 1_000, to: 2_000 };
    const parallel = [
      { from: 1_100, to: 1_500 },
      { from: 1_200, to: 1_600 },
    ];
    expect(coveredMs(parallel, within)).toBe(500);
    expect(coveredMs([...parallel, { from: 1_900, to: Number.POSITIVE_INFINITY }], within)).toBe(600);
    expect(coveredMs([{ from: 2_100, to: 2_500 }], within)).toBe(0);
    expect(coveredMs([], within)).toBe(0);
  });
});

describe('waiting for a third party', () => {
  const unitOfWork = (): Context => ({ correlationId: 'c', module: 'scheduling' });

  it('is noted for the unit of work that asked, and for no other', async () => {
    const asked = unitOfWork();
    const waits = noteThirdParties(asked);
    const work = Promise.withResolvers<string>();
    const answer = runInContext(asked, () => waitingForThirdParty(() => work.promise));
    await runInContext(unitOfWork(), () => waitingForThirdParty(async () => 'of another request'));
    await waitingForThirdParty(async () => 'of nobody');
    expect(waits).toEqual([{ from: expect.any(Number), to: Number.POSITIVE_INFINITY }]);
    work.resolve('answer');
    expect(await answer).toBe('answer');
    expect(waits).toHaveLength(1);
    expect(waits[0]?.to).toBeLessThanOrEqual(performance.now());
    expect(waits[0]?.to).toBeGreaterThanOrEqual(waits[0]?.from ?? Number.NaN);
  });

  it('ends with a failure as well, which is passed on', async () => {
    const asked = unitOfWork();
    const waits = noteThirdParties(asked);
    const failing = runInContext(asked, () => waitingForThirdParty(() => Promise.reject(new Error('no answer'))));
    await expect(failing).rejects.toThrow('no answer');
    expect(waits[0]?.to).toBeLessThan(Number.POSITIVE_INFINITY);
  });
});

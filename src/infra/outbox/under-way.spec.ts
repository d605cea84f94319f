import { setImmediate } from 'node:timers/promises';
import { UnderWay } from './under-way.js';

describe('what is under way', () => {
  it('is waited for, what is added meanwhile included', async () => {
    const [first, second] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    const underWay = new UnderWay();
    underWay.add(first.promise);
    const ended = underWay.ended(10_000);
    underWay.add(second.promise);
    first.resolve();
    await first.promise;
    expect(underWay.isAny).toBe(true);
    let isOver = false;
    const seen = ended.then((hasEnded) => {
      isOver = hasEnded;
    });
    await setImmediate();
    expect(isOver).toBe(false);
    second.resolve();
    await seen;
    expect(isOver).toBe(true);
    expect(underWay.isAny).toBe(false);
  });

  it('is left to itself at the deadline', async () => {
    const underWay = new UnderWay();
    underWay.add(new Promise(() => {}));
    expect(await underWay.ended(20)).toBe(false);
    expect(underWay.isAny).toBe(true);
  });

  it('is over when it says so', async () => {
    const underWay = new UnderWay();
    underWay.begin();
    const ended = underWay.ended(10_000);
    expect(underWay.isAny).toBe(true);
    underWay.end();
    expect(await ended).toBe(true);
    expect(underWay.isAny).toBe(false);
  });

  it('is over at once where nothing is', async () => {
    expect(await new UnderWay().ended(0)).toBe(true);
  });
});

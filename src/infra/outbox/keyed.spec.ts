import { Keyed } from './keyed.js';

describe('values by key', () => {
  const counts = () =>
    new Keyed(
      (key) => ({ key, count: 0 }),
      ({ count }) => count === 0,
    );

  it('are made when they are first asked for, and the same from then on', () => {
    const keyed = counts();
    expect(keyed.find('a')).toBeUndefined();
    keyed.of('a').count++;
    keyed.of('a').count++;
    expect(keyed.find('a')).toEqual({ key: 'a', count: 2 });
    expect([...keyed]).toEqual([{ key: 'a', count: 2 }]);
  });

  it('are forgotten when they say nothing and there are many, and not otherwise', () => {
    const keyed = counts();
    for (let i = 0; i < 10_000; i++) keyed.of(`k${i}`).count = i % 100 === 0 ? 1 : 0;
    expect([...keyed].filter(({ count }) => count > 0)).toHaveLength(100);
    expect([...keyed].length).toBeLessThan(1_400);
  });

  it('have room for more where all of them are in use', () => {
    const keyed = counts();
    for (let i = 0; i < 5_000; i++) keyed.of(`k${i}`).count = 1;
    expect([...keyed]).toHaveLength(5_000);
  });
});

import { Bag } from './bag.js';

describe('a bag', () => {
  it('holds what was added until it is deleted, whichever goes first', () => {
    const [a, b, c] = [{ n: 'a' }, { n: 'b' }, { n: 'c' }];
    const bag = new Bag<{ n: string }>();
    for (const item of [a, b, c]) bag.add(item);
    expect([bag.delete(a), bag.size]).toEqual([true, 2]);
    expect(bag.all.map(({ n }) => n).toSorted()).toEqual(['b', 'c']);
    expect([bag.delete(c), bag.delete(b), bag.size]).toEqual([true, true, 0]);
    bag.add(b);
    expect(bag.all).toEqual([b]);
  });

  it('does not know what is gone, what never came, or what is in another one', () => {
    const [mine, theirs] = [{ n: 1 }, { n: 2 }];
    const [bag, other] = [new Bag<{ n: number }>(), new Bag<{ n: number }>()];
    bag.add(mine);
    other.add(theirs);
    expect([bag.delete(theirs), bag.delete({ n: 3 }), bag.delete(mine), bag.delete(mine)]).toEqual([
      false,
      false,
      true,
      false,
    ]);
    expect(other.all).toEqual([theirs]);
  });
});

import { ClaimFloor, type Place } from './claim-floor.js';

const place = (at: number, id = 1): Place => ({ at, id: String(id) });
/** Where a claim would begin now. */
const next = (floor: ClaimFloor, crowding: readonly string[] = []): Place => {
  const look = floor.next(crowding);
  floor.end(look);
  return look.from;
};
const SECOND = 1_000_000;

/** A floor that one full claim has brought to `to`. */
function raised(to: Place): ClaimFloor {
  const floor = new ClaimFloor();
  floor.claimed(floor.next([]), { last: to, isFull: true });
  return floor;
}

describe('the claim floor', () => {
  it('begins at the very front, and again after a reset', () => {
    const floor = new ClaimFloor();
    expect(next(floor)).toEqual({ at: 0, id: '0' });
    floor.claimed(floor.next([]), { last: place(5 * SECOND), isFull: true });
    floor.reset();
    expect(next(floor)).toEqual({ at: 0, id: '0' });
  });

  it('follows full claims exactly, ids past 2^53 included', () => {
    const last = { at: 5 * SECOND, id: '9007199254740993' };
    const floor = raised(last);
    expect(next(floor)).toEqual(last);
    floor.claimed(floor.next([]), { last: { ...last, id: '9007199254740992' }, isFull: true });
    expect(next(floor)).toEqual(last);
  });

  it('stays a tenth of a second behind a claim that found everything: others may still be committing', () => {
    const floor = new ClaimFloor();
    floor.claimed(floor.next([]), { last: place(5 * SECOND, 7), isFull: false });
    expect(next(floor)).toEqual({ at: 4.9 * SECOND, id: '0' });
  });

  it('never goes up by a look back, nor down by a claim', () => {
    const floor = raised(place(5 * SECOND));
    floor.lower(place(6 * SECOND));
    floor.claimed(floor.next([]), { last: place(2 * SECOND), isFull: true });
    floor.claimed(floor.next([]), { last: undefined, isFull: false });
    expect(next(floor)).toEqual(place(5 * SECOND));
  });

  it('goes down to a row that turns out to be claimable, itself included', () => {
    const floor = raised(place(5 * SECOND, 9));
    floor.lower(place(5 * SECOND, 4));
    expect(next(floor)).toEqual(place(5 * SECOND, 3));
    floor.looked(floor.behind(SECOND), 7 * SECOND, place(3 * SECOND, 2));
    expect(next(floor)).toEqual(place(3 * SECOND, 1));
  });

  it('goes up to the time of a look that found nothing at all', () => {
    const floor = raised(place(5 * SECOND));
    floor.looked(floor.behind(SECOND), 60 * SECOND, undefined);
    expect(next(floor)).toEqual({ at: 59.9 * SECOND, id: '0' });
  });

  it('steps back one second from the furthest it has been, however often', () => {
    const floor = raised(place(5 * SECOND));
    for (let n = 0; n < 3; n++) floor.stepBack();
    expect(next(floor)).toEqual({ at: 4 * SECOND, id: '0' });
  });

  describe('with a crowding tenant', () => {
    const A = ['tenant a'];

    it('goes on without it, and comes back to where it was passed over', () => {
      const floor = raised(place(1 * SECOND, 100));
      floor.claimed(floor.next(A), { last: place(9 * SECOND, 500), isFull: false });
      expect(next(floor, A)).toEqual({ at: 8.9 * SECOND, id: '0' });
      floor.claimed(floor.next(A), { last: undefined, isFull: false });
      expect(next(floor)).toEqual(place(1 * SECOND, 100));
    });

    it('begins at the present after it found nothing but of the tenant, which is not forgotten', () => {
      const floor = raised(place(1 * SECOND, 100));
      floor.claimed(floor.next(A), { last: undefined, isFull: false, sentAt: 60 * SECOND });
      expect(next(floor, A)).toEqual({ at: 59.9 * SECOND, id: '0' });
      expect(next(floor)).toEqual(place(1 * SECOND, 100));
    });

    it('stays where it is after it found nothing while the time is not known, or while nobody crowds', () => {
      const floor = raised(place(1 * SECOND, 100));
      floor.claimed(floor.next([]), { last: undefined, isFull: false, sentAt: 60 * SECOND });
      expect(next(floor)).toEqual(place(1 * SECOND, 100));
      floor.claimed(floor.next(A), { last: undefined, isFull: false });
      expect(next(floor, A)).toEqual(place(1 * SECOND, 100));
    });

    it('works off what was passed over batch by batch, the others from where they were in between', () => {
      const floor = raised(place(1 * SECOND, 100));
      floor.claimed(floor.next(A), { last: place(9 * SECOND, 500), isFull: false });
      floor.claimed(floor.next([]), { last: place(1 * SECOND, 200), isFull: true });
      expect(next(floor, A)).toEqual({ at: 8.9 * SECOND, id: '0' });
      expect(next(floor)).toEqual(place(1 * SECOND, 200));
      floor.claimed(floor.next([]), { last: place(2 * SECOND, 250), isFull: false });
      expect(next(floor)).toEqual({ at: 8.9 * SECOND, id: '0' });
    });

    it('lets another claim go ahead of one that has come back', () => {
      const floor = raised(place(1 * SECOND, 100));
      floor.claimed(floor.next(A), { last: undefined, isFull: false, sentAt: 60 * SECOND });
      const back = floor.next([]);
      const ahead = floor.ahead();
      expect([back.isBack, ahead.isBack, ahead.from]).toEqual([true, false, { at: 59.9 * SECOND, id: '0' }]);
      floor.claimed(ahead, { last: place(70 * SECOND), isFull: false, sentAt: 71 * SECOND });
      floor.claimed(floor.ahead(), { last: undefined, isFull: false, sentAt: 80 * SECOND });
      floor.claimed(back, { last: place(1 * SECOND, 200), isFull: true });
      expect([next(floor, A), next(floor)]).toEqual([{ at: 79.9 * SECOND, id: '0' }, place(1 * SECOND, 200)]);
    });

    it('comes back to where a row of the tenant turns out to be claimable, and the others stay where they are', () => {
      const floor = raised(place(1 * SECOND, 100));
      expect(floor.hasPassedOver).toBe(false);
      floor.claimed(floor.next(A), { last: undefined, isFull: false, sentAt: 60 * SECOND });
      expect(floor.hasPassedOver).toBe(true);
      floor.lowerPassedOver(place(2 * SECOND, 7));
      expect(next(floor, A)).toEqual({ at: 59.9 * SECOND, id: '0' });
      floor.lowerPassedOver(place(1 * SECOND, 50));
      expect(next(floor, A)).toEqual({ at: 59.9 * SECOND, id: '0' });
      expect(next(floor)).toEqual(place(1 * SECOND, 49));
    });

    it('takes such a row for one like any other where the tenant is passed over no longer', () => {
      const floor = raised(place(1 * SECOND, 100));
      floor.lowerPassedOver(place(1 * SECOND, 50));
      expect(next(floor)).toEqual(place(1 * SECOND, 49));
    });

    it('comes back for one of two while the other still crowds, and forgets neither', () => {
      const floor = raised(place(1 * SECOND, 100));
      floor.claimed(floor.next(['a', 'b']), { last: place(9 * SECOND, 500), isFull: false });
      const look = floor.next(['b']);
      expect(look.from).toEqual(place(1 * SECOND, 100));
      floor.claimed(look, { last: place(1 * SECOND, 200), isFull: true });
      expect(next(floor)).toEqual(place(1 * SECOND, 100));
    });
  });

  describe('with a look under way', () => {
    const [F, P, LAST] = [place(5 * SECOND), place(6 * SECOND, 7), place(9 * SECOND)];
    const justBeforeP = place(6 * SECOND, 6);

    it('goes back afterwards to what turned out to be claimable meanwhile: the look may not have seen it', () => {
      const floor = raised(F);
      const claim = floor.next([]);
      floor.lower(LAST);
      floor.lower(P);
      floor.claimed(claim, { last: LAST, isFull: true });
      expect(next(floor)).toEqual(justBeforeP);
      floor.claimed(floor.next([]), { last: LAST, isFull: true });
      expect(next(floor)).toEqual(LAST);
    });

    it('does so after each of two claims, the second of which was sent before the first was answered', () => {
      const floor = raised(F);
      const [first, second] = [floor.next([]), floor.next([])];
      floor.claimed(first, { last: P, isFull: true });
      floor.lower(P);
      expect(next(floor)).toEqual(justBeforeP);
      floor.claimed(second, { last: LAST, isFull: true });
      expect(next(floor)).toEqual(justBeforeP);
    });

    it('does so after one that found nothing, and after one that failed', () => {
      const floor = raised(F);
      const [look, claim] = [floor.behind(SECOND), floor.next([])];
      floor.lower(P);
      floor.looked(look, 60 * SECOND, undefined);
      expect(next(floor)).toEqual(justBeforeP);
      floor.end(claim);
      expect(next(floor)).toEqual(justBeforeP);
    });

    it('does so for those who were passed over', () => {
      const floor = raised(F);
      floor.claimed(floor.next(['a']), { last: LAST, isFull: true });
      const back = floor.next([]);
      floor.lowerPassedOver(P);
      floor.claimed(back, { last: LAST, isFull: true });
      expect([next(floor), next(floor, ['a'])]).toEqual([justBeforeP, LAST]);
    });

    it('takes in nothing of what began before a reset', () => {
      const floor = raised(F);
      const [claim, look] = [floor.next([]), floor.behind(SECOND)];
      floor.reset();
      floor.claimed(claim, { last: LAST, isFull: true });
      floor.looked(look, 60 * SECOND, undefined);
      expect(next(floor)).toEqual(place(0, 0));
    });
  });
});

import { ClaimFloor, type Place } from './claim-floor.js';

const place = (at: number, id = 1): Place => ({ at, id: String(id) });
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
    expect(floor.next([])).toEqual({ at: 0, id: '0' });
    floor.claimed(floor.next([]), { last: place(5 * SECOND), isFull: true });
    floor.reset();
    expect(floor.next([])).toEqual({ at: 0, id: '0' });
  });

  it('follows full claims exactly, ids past 2^53 included', () => {
    const last = { at: 5 * SECOND, id: '9007199254740993' };
    const floor = raised(last);
    expect(floor.next([])).toEqual(last);
    floor.claimed(last, { last: { ...last, id: '9007199254740992' }, isFull: true });
    expect(floor.next([])).toEqual(last);
  });

  it('stays a tenth of a second behind a claim that found everything: others may still be committing', () => {
    const floor = new ClaimFloor();
    floor.claimed(floor.next([]), { last: place(5 * SECOND, 7), isFull: false });
    expect(floor.next([])).toEqual({ at: 4.9 * SECOND, id: '0' });
  });

  it('never goes up by a look back, nor down by a claim', () => {
    const floor = raised(place(5 * SECOND));
    floor.lower(place(6 * SECOND));
    floor.claimed(floor.next([]), { last: place(2 * SECOND), isFull: true });
    floor.claimed(floor.next([]), { last: undefined, isFull: false });
    expect(floor.next([])).toEqual(place(5 * SECOND));
  });

  it('goes down to a row that turns out to be claimable, itself included', () => {
    const floor = raised(place(5 * SECOND, 9));
    floor.lower(place(5 * SECOND, 4));
    expect(floor.next([])).toEqual(place(5 * SECOND, 3));
    floor.looked(7 * SECOND, place(3 * SECOND, 2));
    expect(floor.next([])).toEqual(place(3 * SECOND, 1));
  });

  it('goes up to the time of a look that found nothing at all', () => {
    const floor = raised(place(5 * SECOND));
    floor.looked(60 * SECOND, undefined);
    expect(floor.next([])).toEqual({ at: 59.9 * SECOND, id: '0' });
  });

  it('steps back one second from the furthest it has been, however often', () => {
    const floor = raised(place(5 * SECOND));
    for (let n = 0; n < 3; n++) floor.stepBack();
    expect(floor.next([])).toEqual({ at: 4 * SECOND, id: '0' });
  });

  describe('with a crowding tenant', () => {
    const A = ['tenant a'];

    it('goes on without it, and comes back to where it was passed over', () => {
      const floor = raised(place(1 * SECOND, 100));
      const passedOver = floor.next(A);
      floor.claimed(passedOver, { last: place(9 * SECOND, 500), isFull: false });
      expect(floor.next(A)).toEqual({ at: 8.9 * SECOND, id: '0' });
      floor.claimed(floor.next(A), { last: undefined, isFull: false });
      expect(floor.next([])).toEqual(place(1 * SECOND, 100));
    });

    it('begins at the present after it found nothing but of the tenant, which is not forgotten', () => {
      const floor = raised(place(1 * SECOND, 100));
      floor.claimed(floor.next(A), { last: undefined, isFull: false, sentAt: 60 * SECOND });
      expect(floor.next(A)).toEqual({ at: 59.9 * SECOND, id: '0' });
      expect(floor.next([])).toEqual(place(1 * SECOND, 100));
    });

    it('stays where it is after it found nothing while the time is not known, or while nobody crowds', () => {
      const floor = raised(place(1 * SECOND, 100));
      floor.claimed(floor.next([]), { last: undefined, isFull: false, sentAt: 60 * SECOND });
      expect(floor.next([])).toEqual(place(1 * SECOND, 100));
      floor.claimed(floor.next(A), { last: undefined, isFull: false });
      expect(floor.next(A)).toEqual(place(1 * SECOND, 100));
    });

    it('works off what was passed over batch by batch, the others from where they were in between', () => {
      const floor = raised(place(1 * SECOND, 100));
      floor.claimed(floor.next(A), { last: place(9 * SECOND, 500), isFull: false });
      floor.claimed(floor.next([]), { last: place(1 * SECOND, 200), isFull: true });
      expect(floor.next(A)).toEqual({ at: 8.9 * SECOND, id: '0' });
      expect(floor.next([])).toEqual(place(1 * SECOND, 200));
      floor.claimed(floor.next([]), { last: place(2 * SECOND, 250), isFull: false });
      expect(floor.next([])).toEqual({ at: 8.9 * SECOND, id: '0' });
    });

    it('lets another claim go ahead of one that has come back', () => {
      const floor = raised(place(1 * SECOND, 100));
      floor.claimed(floor.next(A), { last: undefined, isFull: false, sentAt: 60 * SECOND });
      expect(floor.isBack(floor.next(A))).toBe(false);
      const back = floor.next([]);
      expect([floor.isBack(back), floor.ahead]).toEqual([true, { at: 59.9 * SECOND, id: '0' }]);
      floor.claimedAhead({ last: place(70 * SECOND), isFull: false, sentAt: 71 * SECOND });
      expect(floor.ahead).toEqual({ at: 69.9 * SECOND, id: '0' });
      floor.claimedAhead({ last: undefined, isFull: false, sentAt: 80 * SECOND });
      floor.claimed(back, { last: place(1 * SECOND, 200), isFull: true });
      expect([floor.next(A), floor.next([])]).toEqual([{ at: 79.9 * SECOND, id: '0' }, place(1 * SECOND, 200)]);
    });

    it('comes back to where a row of the tenant turns out to be claimable, and the others stay where they are', () => {
      const floor = raised(place(1 * SECOND, 100));
      expect(floor.hasPassedOver).toBe(false);
      floor.claimed(floor.next(A), { last: undefined, isFull: false, sentAt: 60 * SECOND });
      expect(floor.hasPassedOver).toBe(true);
      floor.lowerPassedOver(place(2 * SECOND, 7));
      expect(floor.next(A)).toEqual({ at: 59.9 * SECOND, id: '0' });
      floor.lowerPassedOver(place(1 * SECOND, 50));
      expect(floor.next(A)).toEqual({ at: 59.9 * SECOND, id: '0' });
      expect(floor.next([])).toEqual(place(1 * SECOND, 49));
    });

    it('takes such a row for one like any other where the tenant is passed over no longer', () => {
      const floor = raised(place(1 * SECOND, 100));
      floor.lowerPassedOver(place(1 * SECOND, 50));
      expect(floor.next([])).toEqual(place(1 * SECOND, 49));
    });

    it('comes back for one of two while the other still crowds, and forgets neither', () => {
      const floor = raised(place(1 * SECOND, 100));
      floor.claimed(floor.next(['a', 'b']), { last: place(9 * SECOND, 500), isFull: false });
      const from = floor.next(['b']);
      expect(from).toEqual(place(1 * SECOND, 100));
      floor.claimed(from, { last: place(1 * SECOND, 200), isFull: true });
      expect(floor.next([])).toEqual(place(1 * SECOND, 100));
    });
  });
});

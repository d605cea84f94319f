// Preloaded into a process of the tests: its Date is wrong, and jumps. What measures durations (performance.now, timers)
// is left alone, as it is when the clock of a machine is set.
const [, first = '0', second = first, everyMs = '1000'] =
  /[?&]skew=(-?\d+)(?:,(-?\d+),(\d+))?/.exec(import.meta.url) ?? [];
const RealDate = Date;
const skew = () => Number(Math.floor(performance.now() / Number(everyMs)) % 2 === 0 ? first : second);

class SkewedDate extends RealDate {
  constructor(...given) {
    if (given.length === 0) super(RealDate.now() + skew());
    else super(...given);
  }

  static now() {
    return RealDate.now() + skew();
  }
}
globalThis.Date = SkewedDate;

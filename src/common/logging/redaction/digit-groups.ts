import { INVISIBLE } from './folded-text.js';
import { isDateAt, isDigitCode } from './protected-shapes.js';

/** What stands between two groups of digits, as bits: `) ` is `Close | Space`. */
export const Separator = {
  None: 0,
  Space: 1,
  Invisible: 2,
  Dash: 4,
  Dot: 8,
  Slash: 16,
  Open: 32,
  Close: 64,
  Plus: 128,
} as const;

const SEPARATOR_OF_CODE = new Uint8Array(128);
SEPARATOR_OF_CODE[0x20] = Separator.Space;
SEPARATOR_OF_CODE[0x28] = Separator.Open;
SEPARATOR_OF_CODE[0x29] = Separator.Close;
SEPARATOR_OF_CODE[0x2b] = Separator.Plus;
SEPARATOR_OF_CODE[0x2d] = Separator.Dash;
SEPARATOR_OF_CODE[0x2e] = Separator.Dot;
SEPARATOR_OF_CODE[0x2f] = Separator.Slash;
SEPARATOR_OF_CODE[0x5f] = Separator.Dash;

function separatorOf(code: number): number {
  if (code < 128) return SEPARATOR_OF_CODE[code] ?? Separator.None;
  return code === INVISIBLE ? Separator.Invisible : Separator.None;
}

/** These separate digits of one number only when they stand by themselves. */
const ALONE = Separator.Dot | Separator.Slash | Separator.Plus;
const MAX_GROUPS = 13;
const MAX_TOTAL = 20;
const MAX_GROUP_LENGTH = 15;
const MAX_SEPARATOR_LENGTH = 4;

/**
 * The groups of digits that begin at one place, as a phone number may be written in them: `1 (415) 555-0132` has four.
 * Reading stops after a bounded number of groups, so that a scan which reads at each group stays linear.
 */
export class DigitGroups {
  count = 0;
  /** How many digits there are in all groups. */
  total = 0;
  private text = '';
  private readonly starts: number[] = new Array(MAX_GROUPS).fill(0);
  private readonly ends: number[] = new Array(MAX_GROUPS).fill(0);
  private readonly separators: number[] = new Array(MAX_GROUPS + 1).fill(0);

  /**
   * @param spaced whether digits may stand one by one, as in `+1 4 1 5…` or `00 56 2 2123…`; otherwise a third single digit is taken for
   *   the next item of a list.
   */
  read(text: string, at: number, spaced: boolean): void {
    this.text = text;
    this.count = 0;
    this.total = 0;
    let start = at;
    while (start >= 0 && this.count < MAX_GROUPS && this.total < MAX_TOTAL) {
      let end = start + 1;
      while (isDigitCode(text.charCodeAt(end)) && (this.count === 0 || end - start <= MAX_GROUP_LENGTH)) end++;
      if (this.count > 0 && end - start > MAX_GROUP_LENGTH) break;
      this.starts[this.count] = start;
      this.ends[this.count] = end;
      this.count++;
      this.total += end - start;
      if (!spaced && this.count > 2 && end - start === 1) break;
      start = this.readSeparator(end);
    }
  }

  /** Where the next group begins, or -1 when what follows does not continue the number. */
  private readSeparator(end: number): number {
    const { text } = this;
    let found = 0;
    let at = end;
    for (; at - end <= MAX_SEPARATOR_LENGTH; at++) {
      const separator = separatorOf(text.charCodeAt(at));
      if (separator === Separator.None) break;
      found |= separator;
    }
    if (at === end || at - end > MAX_SEPARATOR_LENGTH || !isDigitCode(text.charCodeAt(at))) return -1;
    // A plus sign is the blank of a query string, and `)+` is `) `.
    const alone = at - end === 1 || (found === (Separator.Close | Separator.Plus) && at - end === 2);
    if ((found & ALONE) !== 0 && !alone) return -1;
    if (isDateAt(text, at) || this.isTimeAt(at)) return -1;
    this.separators[this.count] = found;
    return at;
  }

  private isTimeAt(at: number): boolean {
    const { text } = this;
    let end = at + 1;
    while (end - at < 4 && isDigitCode(text.charCodeAt(end))) end++;
    return text.charCodeAt(end) === 0x3a && isDigitCode(text.charCodeAt(end + 1));
  }

  start(index: number): number {
    return index < this.count ? (this.starts[index] ?? -1) : -1;
  }

  end(index: number): number {
    return index < this.count ? (this.ends[index] ?? -1) : -1;
  }

  /** The length of a group in digits; 0 for a group that there is not. */
  length(index: number): number {
    return index < this.count ? this.end(index) - this.start(index) : 0;
  }

  slice(index: number): string {
    return index < this.count ? this.text.slice(this.start(index), this.end(index)) : '';
  }

  /** What stands before a group. */
  separator(index: number): number {
    return index > 0 && index < this.count ? (this.separators[index] ?? 0) : Separator.None;
  }

  /** What stands between the groups `from` to `to`, exclusive, all together. */
  separatorsWithin(from: number, to: number): number {
    let found = 0;
    for (let i = from + 1; i < to; i++) found |= this.separator(i);
    return found;
  }

  /** The digits of the first `used` groups, without a bracketed trunk zero. */
  digits(used: number): string {
    let digits = '';
    for (let i = 0; i < used; i++) if (!this.isTrunkZero(i)) digits += this.slice(i);
    return digits;
  }

  /** The `(0)` of `+44 (0)20 7946 0958`. */
  isTrunkZero(index: number): boolean {
    return (
      this.length(index) === 1 &&
      this.slice(index) === '0' &&
      this.text.charCodeAt(this.start(index) - 1) === 0x28 &&
      this.text.charCodeAt(this.end(index)) === 0x29
    );
  }

  isBracketed(index: number): boolean {
    return (this.separator(index + 1) & Separator.Close) !== 0 && this.text.charCodeAt(this.start(index) - 1) === 0x28;
  }

  /** Six pairs joined by dashes: a network card's address. */
  isHardwareAddress(): boolean {
    if (this.count !== 6 || this.total !== 12 || this.separatorsWithin(0, 6) !== Separator.Dash) return false;
    for (let i = 0; i < 6; i++) if (this.length(i) !== 2) return false;
    return true;
  }

  /** How many other numbers stand beside the first `used` groups with nothing but a space between. */
  neighbours(used: number): number {
    let beside = 0;
    for (let i = used; i < this.count && this.separator(i) === Separator.Space; i++) beside++;
    const before = this.text.slice(Math.max(0, this.start(0) - 24), this.start(0));
    if (/\d \d+ $/.test(before)) return beside + 2;
    return /\d $/.test(before) ? beside + 1 : beside;
  }

  /** `94110-1234`. */
  isPostcode(used: number): boolean {
    return used === 2 && this.length(0) === 5 && this.length(1) === 4 && this.separator(1) === Separator.Dash;
  }

  /** `12 000 000`: a quantity, its thousands set apart. */
  isQuantity(used: number): boolean {
    if (this.length(0) > 3 || this.separatorsWithin(0, used) !== Separator.Space) return false;
    let round = false;
    for (let i = 1; i < used; i++) {
      if (this.length(i) !== 3) return false;
      round ||= this.slice(i) === '000';
    }
    return round;
  }
}

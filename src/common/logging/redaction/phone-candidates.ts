import { longestNumber } from './calling-codes.js';
import { DigitGroups, Separator } from './digit-groups.js';
import { INVISIBLE, type Span } from './folded-text.js';
import { isFollowedByUnit, type PhoneContext, phoneContextBefore } from './phone-context.js';
import { isDigitCode, protectedEnd, Words } from './protected-shapes.js';

const MIN_DIGITS = 7;
const MAX_DIGITS = 15;
const MAX_DIGITS_IN_WEAK_CONTEXT = 13;
const EXTENSION = /[ ,;]{0,2}(?:ext(?:ension|n)?\.?[ =:]{0,2}|x\.? ?)\d{1,7}(?!\d)/iy;
const LIST_GLUE = /^(?:["'\\]{0,3}[ ,;/&|]{1,3}|[ ,]{1,3}(?:and|or|to) )["'\\]{0,3}\(?$/;
/** The second half of a coordinate: `,-122.4194155`. */
const COORDINATE = /(?:, ?[+-]?|[+-])\d{1,3}\.\d/y;
const RELEASE = /\d\.\d{1,6}\.\d{1,8}(?:-[\w.]{1,12})?$/;

/** The mask of a phone number: its last four digits. */
export function maskDigits(digits: string): string {
  return `***${digits.slice(-4)}`;
}

const groups = new DigitGroups();

/**
 * One pass over a folded text (see `foldText`). Each run of digits begins at most one candidate, which looks a bounded
 * distance to either side, so the pass is linear whatever the text.
 */
class PhoneScan {
  private readonly spans: Span[] = [];
  private readonly words: Words;
  /** Where the last number ended that only its context gave away, for `to 4155550132, 2125550187`. */
  private listEnd = -1;
  private listContext: PhoneContext = 'none';

  constructor(
    private readonly text: string,
    private readonly ambient: PhoneContext,
  ) {
    this.words = new Words(text);
  }

  run(): readonly Span[] {
    let at = this.words.nextDigit(0);
    while (at >= 0) at = this.words.nextDigit(this.scanFrom(at));
    return this.spans;
  }

  /** Examines the run of digits at `at` and returns where to go on. */
  private scanFrom(at: number): number {
    const { text } = this;
    const plus = this.plusBefore(at);
    const safe = protectedEnd(text, at, this.words, plus >= 0);
    if (safe > at) return safe;
    groups.read(text, at, plus >= 0 || text[at] === '0');
    if (groups.length(0) === 4 && text.startsWith('***', at - 3)) return groups.end(0);
    if (groups.total < MIN_DIGITS) return groups.end(0);
    const international = plus >= 0 ? this.international(0) : 0;
    if (international > 0) return this.emit(plus, international);
    const used = this.exitCode(at) || this.selfEvident(at);
    if (used > 0) return this.emit(at, used);
    return this.inContext(at);
  }

  private emit(from: number, used: number): number {
    const { text } = this;
    let end = groups.end(used - 1);
    EXTENSION.lastIndex = end;
    if (EXTENSION.test(text)) end = EXTENSION.lastIndex;
    const within = groups.separatorsWithin(0, used);
    const unbalanced = (within & Separator.Close) !== 0 && (within & Separator.Open) === 0;
    const start = unbalanced && text[from - 1] === '(' ? from - 1 : from;
    this.spans.push({ start, end, mask: maskDigits(groups.digits(used)) });
    return end;
  }

  /** The index of a plus sign in front of the digits, as in `+44`, `+ 44`, `+(44)`; -1 without one. */
  private plusBefore(at: number): number {
    const { text } = this;
    let index = at - 1;
    for (let steps = 0; steps < 2; steps++, index--) {
      const code = text.charCodeAt(index);
      if (code !== 0x28 && code !== 0x20 && code !== INVISIBLE) break;
    }
    if (index < 0 || text[index] !== '+') return -1;
    // `1.2.3+20261123` is the build of a release.
    return RELEASE.test(text.slice(Math.max(0, index - 32), index)) ? -1 : index;
  }

  /** How many groups make up a number that begins with its calling code, after `skip` digits of an exit code. */
  private international(skip: number): number {
    let total = '';
    let used = 0;
    for (let i = 0; i < groups.count; i++) {
      if (groups.isTrunkZero(i)) continue;
      const digits = i === 0 ? groups.slice(0).slice(skip) : groups.slice(i);
      const limit = longestNumber(total + digits) ?? MAX_DIGITS;
      if (total.length >= MIN_DIGITS && total.length + digits.length > limit) break;
      total += digits;
      used = i + 1;
      if (total.length >= limit) break;
    }
    if (total.length < MIN_DIGITS || total.length > MAX_DIGITS + 2) return 0;
    if (total.startsWith('0') && groups.length(0) < 9) return 0;
    if (total.startsWith('1') && used > 1 && total.length < 10) return 0;
    return isSignedDecimal(this.text) ? 0 : used;
  }

  /** Numbers dialled with the exit code `00` or, from North America, `011`. */
  private exitCode(at: number): number {
    const first = groups.slice(0);
    const skip = first.startsWith('011') ? 3 : first.startsWith('00') ? 2 : 0;
    if (skip === 0 || first[skip] === '0' || groups.isHardwareAddress()) return 0;
    if (/[\w.-]/.test(this.text[at - 1] ?? ' ')) return 0;
    const used = this.international(skip);
    const digits = groups.digits(used).slice(skip);
    const longest = longestNumber(digits) ?? 0;
    if (used === 0 || digits.length > longest) return 0;
    const exact = digits.startsWith('1') || digits.startsWith('7');
    const certain = digits.length >= 10 && (!exact || digits.length === longest);
    const end = groups.end(used - 1);
    if (isFollowedByUnit(this.text, end)) return 0;
    return (certain && !this.runsOn(end)) || this.context(at) !== 'none' ? used : 0;
  }

  /** The shapes that are written for phone numbers alone, so that they need no word in front of them. */
  private selfEvident(at: number): number {
    const first = groups.slice(0) === '1' ? 1 : 0;
    const nationwide = trunkZeroWithDashes();
    if (nationwide > 0) return nationwide;
    if (groups.length(first) !== 3) return bracketedAreaCode();
    const tens = groups.length(first + 1) === 3 && groups.length(first + 2) === 4;
    const joined = groups.length(first + 1) === 7 && groups.isBracketed(first);
    if (!tens && !joined) return bracketedAreaCode();
    const used = first + (tens ? 3 : 2);
    const separators = groups.separatorsWithin(0, used);
    const dotted = (separators & Separator.Dot) !== 0;
    const area = groups.slice(first);
    const northAmerican = area >= '2' && groups.slice(first + 1) >= '2';
    if (!northAmerican && (dotted || !area.startsWith('0'))) return 0;
    if (dotted && this.isDotted(at, groups.end(used - 1))) return 0;
    // A row of numbers between spaces is a table more often than a phone number.
    if (separators === Separator.Space && groups.neighbours(used) >= 2) return 0;
    return used;
  }

  /** Any other digits, which only what stands before them makes a phone number. */
  private inContext(at: number): number {
    const { text } = this;
    const skip = groups.end(0);
    if ('$€£¥₹'.includes(text[at - 1] ?? ' ') || this.isFraction(at)) return skip;
    const context = this.context(at);
    if (context === 'none') return skip;
    const used = plausibleGroups(context);
    if (used === 0) return skip;
    const end = groups.end(used - 1);
    if (isFollowedByUnit(text, end)) return skip;
    if (context === 'weak' && (this.runsOn(end) || !couldBeNumber(used))) return skip;
    this.listEnd = this.emit(at, used);
    this.listContext = context;
    return this.listEnd;
  }

  private context(at: number): PhoneContext {
    const { text } = this;
    if (this.listEnd >= 0 && at - this.listEnd <= 12 && LIST_GLUE.test(text.slice(this.listEnd, at))) {
      return this.listContext;
    }
    return phoneContextBefore(text, at, this.ambient);
  }

  /** Whether the digits are only the front of something longer: `4155550132-A7`, `4155550132.5`, `10:33`. */
  private runsOn(end: number): boolean {
    const { text } = this;
    const next = text[end] ?? ' ';
    const after = text[end + 1] ?? ' ';
    if (next === '-' || next === '_') return /[a-z0-9]/i.test(after);
    if (next === '.' || next === ':' || next === '/') return /\d/.test(after);
    if (next === ',') return /^\d{1,2}(?!\d)/.test(text.slice(end + 1, end + 4));
    if (!/[a-z]/i.test(next)) return false;
    const letters = /^[a-z]*/i.exec(text.slice(end, end + 16))?.[0] ?? '';
    return /^[a-f]+$/i.test(letters) || /\d/.test(text[end + letters.length] ?? ' ');
  }

  private isFraction(at: number): boolean {
    return this.text[at - 1] === '.' && isDigitCode(this.text.charCodeAt(at - 2));
  }

  private isDotted(start: number, end: number): boolean {
    return this.isFraction(start) || (this.text[end] === '.' && isDigitCode(this.text.charCodeAt(end + 1)));
  }
}

/** `+1234567.89` and `+37.7749295,-122.4194155`, but not `+1.4155550132`. */
function isSignedDecimal(text: string): boolean {
  if (groups.separator(1) !== Separator.Dot || groups.separator(2) === Separator.Dot) return false;
  if (groups.length(0) >= 4 && groups.length(0) <= 9 && groups.length(1) <= 3) return true;
  COORDINATE.lastIndex = groups.end(1);
  return groups.length(0) <= 3 && COORDINATE.test(text);
}

/** `090-1234-5678`. */
function trunkZeroWithDashes(): number {
  if (groups.length(2) < 3 || groups.length(2) > 4 || groups.separatorsWithin(0, 3) !== Separator.Dash) return 0;
  const total = groups.length(0) + groups.length(1) + groups.length(2);
  const written = groups.length(0) >= 2 && groups.length(0) <= 4 && groups.length(1) >= 3;
  return written && total >= 10 && total <= 11 && /^0[1-9]/.test(groups.slice(0)) ? 3 : 0;
}

/** `(020) 7946 0958` and `(11) 96123-4567`. */
function bracketedAreaCode(): number {
  if (!groups.isBracketed(0)) return 0;
  const area = groups.length(0);
  if (area === 2 && groups.length(1) >= 4 && groups.length(1) <= 5 && groups.length(2) === 4) {
    if (groups.separator(2) === Separator.Dash) return 3;
  }
  if (!groups.slice(0).startsWith('0') || area < 2 || area > 5) return 0;
  let total = 0;
  let used = 0;
  while (used < groups.count && total + groups.length(used) <= 11) total += groups.length(used++);
  return total >= 9 ? used : 0;
}

/** How many groups can be read as one number once the context says that it is one; 0 for a list or a decimal. */
function plausibleGroups(context: PhoneContext): number {
  const longest = context === 'strong' ? MAX_DIGITS : MAX_DIGITS_IN_WEAK_CONTEXT;
  let total = 0;
  let used = 0;
  for (; used < groups.count && total + groups.length(used) <= longest; used++) {
    if (groups.length(used) === 1 && used >= 2) break;
    if ((groups.separator(used) & Separator.Slash) !== 0 && (used > 1 || groups.length(0) < 3)) break;
    total += groups.length(used);
  }
  if (total < MIN_DIGITS) return 0;
  const separators = groups.separatorsWithin(0, used);
  if ((separators & Separator.Dot) === 0) return used;
  const evenly = separators === Separator.Dot && used >= 3 && groups.length(1) > 1;
  const certain = evenly || (context === 'strong' && total >= 10);
  return certain ? used : 0;
}

/** After a word that may as well introduce a range, an id or a time, only digits written like a number count. */
function couldBeNumber(used: number): boolean {
  if (used > 1) return !groups.isPostcode(used) && !groups.isQuantity(used);
  const digits = groups.slice(0);
  if (digits.length === 10) return /^(?:0|[2-9]\d\d[2-9])/.test(digits);
  return digits.length === 11 && /^(?:0|1[2-9]\d\d[2-9])/.test(digits);
}

/** Whether digits without separators, known only as the value of a `from` or `to`, could be a phone number. */
export function couldBeBareNumber(digits: string): boolean {
  return /^(?:1?[2-9]\d\d[2-9]\d{6})$/.test(digits);
}

/**
 * The phone numbers of a folded text, in ascending order, each with its mask.
 *
 * @param ambient what the field that holds the text says of bare digits in it.
 */
export function findPhones(text: string, ambient: PhoneContext): readonly Span[] {
  return new PhoneScan(text, ambient).run();
}

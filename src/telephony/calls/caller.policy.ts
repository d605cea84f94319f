/**
 * Who is on the other end of a call or text, judged by the sender field alone.
 *
 * `reachable` carries the number in E.164 and means "worth sending a text to", not "proven to be a mobile": line type
 * is unknown until the provider tells. Every other kind is a reason to send nothing, and keeps the field as received
 * (`''` when it was missing) for the record.
 */
export type Caller =
  | { kind: 'reachable'; phone: string }
  | { kind: 'withheld' | 'short_code' | 'alphanumeric' | 'toll_free' | 'not_a_phone'; raw: string };

/** Words that carriers, SIP trunks and Twilio put where the number was withheld; compared without case and spacing. */
const WITHHELD_WORDS: ReadonlySet<string> = new Set([
  'anonymous',
  'blocked',
  'callerunknown',
  'idunavailable',
  'nocallerid',
  'null',
  'private',
  'privatecaller',
  'privatenumber',
  'restricted',
  'unavailable',
  'undefined',
  'unknown',
  'unknowncaller',
  'withheld',
]);

/**
 * The same words typed on a telephone keypad. They pass for numbers of Lesotho, Russia, Uganda and China, so a validity
 * check alone would send an international text: ANONYMOUS, RESTRICTED, BLOCKED, UNKNOWN, UNAVAILABLE.
 */
const WITHHELD_DIGITS: ReadonlySet<string> = new Set(['266696687', '7378742833', '2562533', '8656696', '86282452253']);

/** North American toll-free area codes; 822 is reserved for the next one. A toll-free caller is a business. */
const TOLL_FREE_AREA_CODES: ReadonlySet<string> = new Set(['800', '822', '833', '844', '855', '866', '877', '888']);

/** Pay-per-call: area code 900, and 976 as an area code or as an exchange of any area code. */
const PREMIUM_AREA_CODES: ReadonlySet<string> = new Set(['900', '976']);
const PREMIUM_EXCHANGE = '976';

/** Country codes of international freephone and of international premium rate. */
const FREEPHONE_ABROAD = /^800/;
const PREMIUM_ABROAD = /^979/;

const MAX_SENDER_ID_LENGTH = 11;
const URI_SCHEME = /^([a-z][a-z0-9.-]*):(.*)$/is;
const SENDER_ID = /^[\p{L}\d _&+.-]+$/u;
const PUNCTUATION_OF_A_NUMBER = /[\s().\-/]/g;
const SHORT_CODE = /^\d{3,6}$/;
const NANP_NATIONAL = /^([2-9]\d\d)(\d{3})\d{4}$/;
const N11 = /^[2-9]11$/;
const E164_ABROAD = /^[2-9]\d{7,14}$/;

/**
 * Classifies the `From` of a call or text.
 *
 * North American numbers are checked for their area code (`[2-9]XX`, no N11, no premium rate) and may come without the
 * plus; an exchange that cannot exist passes, because a refused text costs less than a lost caller. Numbers of other countries need their plus
 * and are checked for the E.164 shape alone, 8 to 15 digits.
 */
export function classifyCaller(raw: string | undefined): Caller {
  const received = raw ?? '';
  const text = received.normalize('NFKC').trim();
  if (text === '' || isWithheldWord(text)) return { kind: 'withheld', raw: received };

  const scheme = URI_SCHEME.exec(text);
  if (scheme) {
    const user = (scheme[2] ?? '').split('@')[0] ?? '';
    return { kind: isWithheldWord(user) ? 'withheld' : 'not_a_phone', raw: received };
  }
  if (/\p{L}/u.test(text)) {
    const senderId = text.length <= MAX_SENDER_ID_LENGTH && SENDER_ID.test(text);
    return { kind: senderId ? 'alphanumeric' : 'not_a_phone', raw: received };
  }
  return classifyNumber(text.replace(PUNCTUATION_OF_A_NUMBER, ''), received);
}

function isWithheldWord(text: string): boolean {
  return WITHHELD_WORDS.has(text.toLowerCase().replace(/[^a-z]/g, ''));
}

function classifyNumber(compact: string, raw: string): Caller {
  const hasPlus = compact.startsWith('+');
  const digits = hasPlus ? compact.slice(1) : compact;
  if (!/^\d+$/.test(digits)) return { kind: 'not_a_phone', raw };
  if (WITHHELD_DIGITS.has(digits)) return { kind: 'withheld', raw };
  if (!hasPlus && SHORT_CODE.test(digits)) return { kind: 'short_code', raw };

  const national = nationalNumber(digits, hasPlus);
  if (national !== undefined) return classifyNanp(national, raw);
  if (!hasPlus || !E164_ABROAD.test(digits) || PREMIUM_ABROAD.test(digits)) return { kind: 'not_a_phone', raw };
  if (FREEPHONE_ABROAD.test(digits)) return { kind: 'toll_free', raw };
  return { kind: 'reachable', phone: `+${digits}` };
}

/** The ten digits after +1, or undefined when the number is of another country or of no country. */
function nationalNumber(digits: string, hasPlus: boolean): string | undefined {
  if (digits.startsWith('1')) return digits.slice(1);
  return !hasPlus && digits.length === 10 ? digits : undefined;
}

function classifyNanp(national: string, raw: string): Caller {
  const [, areaCode = '', exchange = ''] = NANP_NATIONAL.exec(national) ?? [];
  if (areaCode === '' || N11.test(areaCode)) return { kind: 'not_a_phone', raw };
  if (TOLL_FREE_AREA_CODES.has(areaCode)) return { kind: 'toll_free', raw };
  if (PREMIUM_AREA_CODES.has(areaCode) || exchange === PREMIUM_EXCHANGE) return { kind: 'not_a_phone', raw };
  return { kind: 'reachable', phone: `+1${national}` };
}

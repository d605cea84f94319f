/**
 * What a Twilio error means for us.
 *
 * `opted_out`: record the opt-out. `invalid_number`, `landline`: this number gets no texts, the owner should call.
 * `configuration`: the tenant's account or number is set up wrongly. `rate`: too much at once. `transient`: may work in
 * a moment. `filtered`: blocked on purpose by a carrier or by the provider. `not_registered`: A2P or toll-free
 * registration is missing. `our_bug`: we sent what we should not have. `suspended`: the account is stopped. `expired`:
 * it waited past its validity period. `unknown`: a code that is not listed here.
 */
export type TwilioErrorClass =
  | 'opted_out'
  | 'invalid_number'
  | 'landline'
  | 'configuration'
  | 'rate'
  | 'transient'
  | 'filtered'
  | 'not_registered'
  | 'our_bug'
  | 'suspended'
  | 'expired'
  | 'unknown';

/** `later`: the same message may be tried again after a pause. `never`: a retry cannot help or must not happen. */
export interface TwilioErrorMeaning {
  class: TwilioErrorClass;
  retry: 'never' | 'later';
}

const never = (errorClass: TwilioErrorClass): TwilioErrorMeaning => ({ class: errorClass, retry: 'never' });
const later = (errorClass: TwilioErrorClass): TwilioErrorMeaning => ({ class: errorClass, retry: 'later' });

/** Source: twilio.com/docs/api/errors. Twilio adds codes without notice; a missing one is `unknown`, not a fault. */
const MEANINGS = {
  11200: never('our_bug'), // our webhook could not be reached or answered with an error
  11205: never('our_bug'), // our webhook refused the connection
  12100: never('our_bug'), // our TwiML is not XML
  20003: later('configuration'), // credentials refused; a token that is being rotated comes good
  20404: never('configuration'), // resource not found
  20429: later('rate'), // too many requests; not processed
  21211: never('invalid_number'), // To is not a phone number
  21408: never('configuration'), // region not enabled
  21606: never('configuration'), // From cannot send SMS
  21608: never('configuration'), // trial account, To not verified
  21610: never('opted_out'), // recipient opted out, or the number was reassigned
  21611: later('rate'), // queue of this sender is full
  21612: never('landline'), // To cannot be reached from From
  21614: never('landline'), // To is not a mobile number
  21617: never('our_bug'), // body is over 1600 characters
  21635: never('landline'), // To is a landline (outside US, CA and UK)
  30001: later('rate'), // queue overflow
  30002: never('suspended'), // account suspended
  30003: later('transient'), // handset unreachable
  30004: never('filtered'), // blocked for this destination
  30005: never('invalid_number'), // destination unknown
  30006: never('landline'), // landline or unreachable carrier
  30007: never('filtered'), // filtered by the carrier
  30008: later('transient'), // carrier gave no reason
  30022: later('rate'), // 10DLC rate exceeded
  30023: later('rate'), // 10DLC daily cap reached
  30024: later('not_registered'), // sender not yet provisioned at the carrier
  30032: never('not_registered'), // toll-free number not verified
  30034: never('not_registered'), // number not registered for A2P
  30036: never('expired'), // validity period is over
  30410: later('transient'), // provider timed out
  30450: never('filtered'), // SMS-pumping protection
  30610: never('filtered'), // quiet hours of the Compliance Toolkit
  30640: never('filtered'), // known litigator, Compliance Toolkit
} as const satisfies Record<number, TwilioErrorMeaning>;

/** The listed codes as strings: the closed label values of a metric, beside its own value for the rest. */
export const KNOWN_ERROR_CODES = Object.keys(MEANINGS) as readonly `${keyof typeof MEANINGS}`[];

const BY_CODE: ReadonlyMap<number, TwilioErrorMeaning> = new Map(
  Object.entries(MEANINGS).map(([code, meaning]) => [Number(code), meaning]),
);

/** The meaning of a Twilio `code` or `ErrorCode`. One that is missing or not listed is `unknown` and is not retried. */
export function classifyTwilioError(code: number | undefined): TwilioErrorMeaning {
  return (code === undefined ? undefined : BY_CODE.get(code)) ?? never('unknown');
}

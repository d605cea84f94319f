/**
 * What the name of a field says about its value.
 *
 * - `secret`: credentials, never shown.
 * - `body`: what people wrote or said, shown as its length.
 * - `phone`: bare digits are a phone number (`customerPhone`, `from_e164`).
 * - `maybePhone`: bare digits are a phone number if they could be one (`from`, `to` are also ends of a range).
 * - `email`: an address, even one without a dot in its domain.
 * - `id`, `money`: bare digits are never a phone number.
 * - `plain`: the name says nothing, the value is read as text.
 */
export type KeyClass = 'secret' | 'body' | 'phone' | 'maybePhone' | 'email' | 'id' | 'money' | 'plain';

const words = (list: string): ReadonlySet<string> => new Set(list.split(/\s+/));

const ID_LAST = words(`id ids sid sids uuid uuids guid ref reference hash digest sha sha256 seq sequence key xid pid tid
  oid lsn xmin offset version revision build code etag count counts total time timestamp ts at on ms us ns s sec secs
  seconds minutes hours day days date epoch exp iat nbf duration elapsed latency lag port size bytes len length chars
  status type kind name city state zip country region locale valid verified present enabled ttl expires expiry index
  position rows lines page limit attempt attempts retries`);
const MONEY_LAST = words('cents amount price revenue cost fee balance usd eur gbp cad dollars subtotal tax mrr arr');
const SECRET_LAST = words(`password passwd pwd passphrase passcode secret secrets token jwt authorization auth cookie
  cookies signature sig hmac credential credentials apikey apikeys bearer otp`);
const SECRET_KEY_BEFORE = words('api access secret private signing encryption auth shared master service');
const SECRET_CODE_BEFORE = words('otp auth authorization verification access security mfa totp pin');
const BODY_LAST = words('body transcript transcription utterance utterances speech');
const TEXT_BEFORE = words(`sms message msg body reply inbound outbound customer user raw last transcription speech
  prompt first caller`);
const PHONE_LAST = words(`phone phones telephone tel mobile cell cellphone msisdn e164 fax whatsapp caller callers
  called callee ani dnis phonenumber phonenumbers mobilenumber callerid`);
const MAYBE_PHONE_LAST = words('from to recipient recipients sender contact dialed callback sms call');
const NUMBER_LAST = words('number numbers num no line');
const NUMBER_FORM_LAST = words('raw value digits national international formatted');
const PHONE_BEFORE_NUMBER = words(`${[...PHONE_LAST, ...MAYBE_PHONE_LAST].join(' ')} twilio forward forwarding business
  customer tech owner calling dial outgoing national international`);

function keyTokens(key: string): string[] {
  const spaced = key
    .slice(-64)
    .replace(/([a-z0-9])([A-Z])/g, '$1 $2')
    .replace(/([A-Z])([A-Z][a-z])/g, '$1 $2');
  const tokens = spaced.toLowerCase().match(/[a-z0-9]+/g) ?? [];
  while (tokens.length > 0 && /^\d+$/.test(tokens.at(-1) ?? '')) tokens.pop();
  return tokens.map((token) => (token === 'e164' || token === 'sha256' ? token : token.replace(/\d+$/, '')));
}

function classifyTokens(tokens: readonly string[]): KeyClass {
  const last = tokens.at(-1) ?? '';
  const before = tokens.at(-2) ?? '';
  if (last === 'id' && (before === 'caller' || before === 'called')) return 'phone';
  if (last === 'key' && SECRET_KEY_BEFORE.has(before)) return 'secret';
  if (last === 'code' && SECRET_CODE_BEFORE.has(before)) return 'secret';
  if (ID_LAST.has(last)) return 'id';
  if (SECRET_LAST.has(last)) return 'secret';
  if (MONEY_LAST.has(last)) return 'money';
  if (BODY_LAST.has(last) || (last === 'result' && before === 'speech')) return 'body';
  if (last === 'text' || last === 'content') return tokens.length === 1 || TEXT_BEFORE.has(before) ? 'body' : 'plain';
  if (last === 'email' || last === 'emails' || (last === 'address' && before === 'email')) return 'email';
  if (PHONE_LAST.has(last)) return 'phone';
  if (MAYBE_PHONE_LAST.has(last)) return 'maybePhone';
  if (NUMBER_LAST.has(last) && tokens.some((token) => PHONE_BEFORE_NUMBER.has(token))) return 'phone';
  if (NUMBER_FORM_LAST.has(last) && tokens.some((token) => PHONE_LAST.has(token))) return 'phone';
  if (last === 'number' || last === 'numbers') return tokens.length === 1 ? 'maybePhone' : 'id';
  return 'plain';
}

const CACHE_LIMIT = 4096;
const CACHED_KEY_LENGTH = 64;
const cache = new Map<string, KeyClass>();

/**
 * The class of a field name, whatever its spelling: camelCase, snake_case, kebab-case, dotted. Names are remembered,
 * up to a limit and only those too short of digits to be somebody's number.
 */
export function classifyKey(key: string): KeyClass {
  const known = cache.get(key);
  if (known !== undefined) return known;
  const keyClass = classifyTokens(keyTokens(key));
  if (cache.size < CACHE_LIMIT && key.length <= CACHED_KEY_LENGTH && key.replace(/\D/g, '').length < 7) {
    cache.set(key, keyClass);
  }
  return keyClass;
}

const VALUE_OF_PARENT = words(`value raw number national nationalnumber international internationalnumber
  digits formatted original input`);

/**
 * The class of a field inside another: what `{"phone": {"raw": "4155550132"}}` holds is still a phone number, and the
 * items of an array are what the array's name says.
 */
export function classifyChild(key: string, parent: KeyClass): KeyClass {
  const own = classifyKey(key);
  if (parent !== 'phone' && parent !== 'maybePhone') return own;
  return VALUE_OF_PARENT.has(key.toLowerCase().replaceAll('_', '')) && own !== 'phone' ? parent : own;
}

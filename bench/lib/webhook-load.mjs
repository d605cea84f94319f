import { createHmac, randomUUID } from 'node:crypto';
import { Agent, request } from 'node:http';

/** @typedef {{ sid: string, token: string, to: string, connections: number }} Account */

/**
 * Asked to `post` for some seconds, and until so many are posted, every connection posts one signed voice webhook after
 * the other, as fast as they are answered. Answers how many were; one that is not answered with 200 ends the process.
 */
export function serveLoad(/** @type {string} */ url, /** @type {Account} */ account) {
  const agent = new Agent({ keepAlive: true, maxSockets: account.connections });
  let calls = 0;
  process.on('message', async (/** @type {any} */ { id, value: { seconds, atLeast = 0 } }) => {
    const from = performance.now();
    const end = from + seconds * 1_000;
    let posted = 0;
    const connection = async () => {
      for (; performance.now() < end || posted < atLeast; posted++) await post(agent, url, account, calls++);
    };
    try {
      await Promise.all(Array.from({ length: account.connections }, connection));
      process.send?.({ type: `answer ${id}`, value: { posted, seconds: (performance.now() - from) / 1_000 } });
    } catch (error) {
      process.stderr.write(`${error instanceof Error ? error.stack : error}\n`, () => process.exit(1));
    }
  });
}

/** A new call of a caller who has not called before, signed as Twilio signs. @returns {Promise<void>} */
function post(/** @type {Agent} */ agent, /** @type {string} */ url, { sid, token, to }, /** @type {number} */ n) {
  const CallSid = `CA${randomUUID().replaceAll('-', '')}`;
  const From = `+1303${2_000_000 + (n % 8_000_000)}`;
  const params = { AccountSid: sid, CallSid, CallStatus: 'ringing', Direction: 'inbound', From, To: to };
  // In the order of their names.
  const signed = url + Object.entries(params).flat().join('');
  const body = new URLSearchParams(params).toString();
  const headers = {
    'Content-Type': 'application/x-www-form-urlencoded; charset=UTF-8',
    'Content-Length': String(Buffer.byteLength(body)),
    'I-Twilio-Idempotency-Token': randomUUID(),
    'X-Twilio-Signature': createHmac('sha1', token).update(signed).digest('base64'),
  };
  return new Promise((resolve, reject) => {
    const sending = request(url, { method: 'POST', agent, headers, timeout: 10_000 }, (response) => {
      response.resume().on('end', () => {
        if (response.statusCode === 200) resolve();
        else reject(new Error(`a webhook was answered ${response.statusCode}`));
      });
    });
    sending
      .on('error', reject)
      .on('timeout', () => sending.destroy(new Error('a webhook was not answered within 10 s')));
    sending.end(body);
  });
}

// What redaction costs a log line, beside what the line costs anyway: `npm run build && node bench/redactor.mjs`.
import { pino } from 'pino';
import { createLogger } from '../dist/common/logging/logger.js';
import { redactLine } from '../dist/common/logging/redactor.js';

const ROUNDS = 7;
const fields = {
  module: 'telephony',
  tenant_id: '0190f3a2-5c1e-7c3a-9d52-0d6a1c7f3b11',
  correlation_id: '0190f3a2-5c1e-7c3a-9d52-0d6a1c7f3b12',
  method: 'POST',
  route: '/webhooks/twilio/voice',
  status: 200,
  latency_ms: 12.3,
  provider: 'twilio',
  event_id: `voice:AC${'0'.repeat(32)}:CA${'1'.repeat(32)}`,
};
const clean = `${JSON.stringify({ level: 'info', ...fields, message: 'request completed' })}\n`;
const personal = `${JSON.stringify({ level: 'warn', ...fields, from: '+14155550132', message: 'call (415) 555-0132 or jane@example.com' })}\n`;
const sink = { write: () => true };
const plain = pino({ base: null }, sink);
const ours = createLogger({ level: 'info' }, sink);

/** Least time of several rounds, in µs a call: the rest of the machine only ever adds. */
function microseconds(work, calls = 20_000) {
  for (let i = 0; i < calls; i++) work();
  const rounds = Array.from({ length: ROUNDS }, () => {
    const startedAt = performance.now();
    for (let i = 0; i < calls; i++) work();
    return ((performance.now() - startedAt) / calls) * 1000;
  });
  return Math.min(...rounds);
}

const stringify = microseconds(() => JSON.stringify(fields));
const rows = {
  'JSON.stringify of the fields': stringify,
  'pino, nothing redacted': microseconds(() => plain.info(fields, 'request completed')),
  'our logger': microseconds(() => ours.info(fields, 'request completed')),
  'redactLine, nothing in it': microseconds(() => redactLine(clean)),
  'redactLine, two numbers and an address': microseconds(() => redactLine(personal)),
};
for (const [name, us] of Object.entries(rows)) {
  console.log(
    `${name.padEnd(40)} ${us.toFixed(2).padStart(7)} µs ${(us / stringify).toFixed(1).padStart(6)} x JSON.stringify`,
  );
}
for (const unit of ['+1 415 555 0132 ', 'jane@example.com ', 'a']) {
  const [half, whole] = [65_536, 131_072].map((length) => unit.repeat(length / unit.length));
  const ratio = microseconds(() => redactLine(whole), 10) / microseconds(() => redactLine(half), 10);
  console.log(`${JSON.stringify(unit).padEnd(40)} 128 KB takes ${ratio.toFixed(2)} x of 64 KB`);
}

import { z } from 'zod';
import { defineEvent } from '../../infra/outbox/event.js';

const call = {
  call_id: z.uuid(),
  call_sid: z.string().describe("The provider's id"),
  caller: z.string().describe('E.164 where the provider gave a number; what it sent otherwise'),
  business_number: z.string().describe('The number that was called'),
  missed_at: z.iso
    .datetime()
    .describe("When the call was determined missed, on the database's clock: the start of the promise"),
};

export const sendingGate = {
  sending_gate: z
    .string()
    .optional()
    .describe("The provider's account that a reply goes through, as `provider:account`; since 1.1.0"),
};

export const CallDetected = defineEvent({
  name: 'nmc.telephony.CallDetected',
  version: '1.1.0',
  description: 'A missed call, decided: once per CallSid, whatever arrives in whatever order.',
  schema: z.object({
    ...call,
    ...sendingGate,
    decision: z.enum(['reply', 'suppress', 'defer']),
    reason: z.string().nullable().describe('Why not at once; null for a reply'),
  }),
});

export const CallReplySuppressed = defineEvent({
  name: 'nmc.telephony.CallReplySuppressed',
  version: '1.0.0',
  description: 'The caller gets no text, and why.',
  schema: z.object({ ...call, reason: z.string().describe('Why there is no text, e.g. `opted_out`, `repeat`') }),
});

export const CallReplyDeferred = defineEvent({
  name: 'nmc.telephony.CallReplyDeferred',
  version: '1.1.0',
  description: 'The caller gets the text later, because the business chose so.',
  schema: z.object({
    ...call,
    ...sendingGate,
    reason: z.string().describe('Why it waits'),
    deferred_until: z.iso.datetime().describe('When the text is due: the start of its promise'),
  }),
});

export type MissedCall = z.output<(typeof CallDetected)['schema']>;

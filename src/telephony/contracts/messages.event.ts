import { z } from 'zod';
import { defineEvent } from '../../infra/outbox/event.js';
import { sendingGate } from './calls.event.js';

export const InboundSmsReceived = defineEvent({
  name: 'nmc.telephony.InboundSmsReceived',
  version: '1.1.0',
  description: 'A text from a caller; its body stays in telephony.',
  schema: z.object({
    message_id: z.uuid(),
    message_sid: z.string().describe("The provider's id"),
    caller: z.string().describe('E.164 where the provider gave a number; what it sent otherwise'),
    business_number: z.string().describe('The number that was texted'),
    received_at: z.iso.datetime().describe("On the database's clock"),
    keyword: z.enum(['stop', 'start', 'help']).nullable().describe('What the text says about consent'),
    decision: z
      .enum(['reply', 'suppress', 'none'])
      .describe('Whether a first reply is owed: `none` inside a running conversation'),
    reason: z.string().nullable().describe('Why it is suppressed'),
    ...sendingGate,
  }),
});

const outbound = {
  message_id: z.uuid(),
  trigger_id: z.uuid().describe('The call or inbound text that this message answers'),
  purpose: z.string().describe('What the text is for, e.g. `first_reply`'),
};

export const OutboundSmsQueued = defineEvent({
  name: 'nmc.telephony.OutboundSmsQueued',
  version: '1.0.0',
  description: 'The provider accepted a text: for a first reply, the stop of the clock. Emitted once per message.',
  schema: z.object({
    ...outbound,
    message_sid: z.string().describe("The provider's id"),
    provider_status: z.string().describe('What the provider called it: `accepted` or `queued`, as a rule'),
    accepted_at: z.iso.datetime().describe("On the database's clock: the stop of the promise"),
    evidence: z
      .enum(['response', 'reconciled', 'callback'])
      .describe('How it became known: the answer itself, a reconciliation, or a delivery callback that came first'),
    stages_ms: z
      .object({
        webhook: z.number(),
        outbox_wait: z.number(),
        handler: z.number(),
        provider: z.number(),
      })
      .describe('Where the time went'),
  }),
});

export const OutboundSmsFailed = defineEvent({
  name: 'nmc.telephony.OutboundSmsFailed',
  version: '1.0.0',
  description: 'A text was definitely not accepted and will not be tried again.',
  schema: z.object({
    ...outbound,
    reason: z.string(),
    error_code: z.number().int().nullable().describe("The provider's"),
  }),
});

export const DeliveryUpdated = defineEvent({
  name: 'nmc.telephony.DeliveryUpdated',
  version: '1.0.0',
  description: 'The delivery state of a text moved forward.',
  schema: z.object({
    ...outbound,
    message_sid: z.string().describe("The provider's id"),
    state: z.string().describe('The state it reached, in the words of the provider'),
    error_code: z.number().int().nullable().describe("The provider's"),
  }),
});

import { z } from 'zod';
import { defineEvent } from '../../infra/outbox/event.js';

export const InboundSmsReceived = defineEvent({
  name: 'nmc.telephony.InboundSmsReceived',
  version: '1.0.0',
  description: 'A text from a caller; its body stays in telephony.',
  schema: z.object({
    message_id: z.uuid(),
    message_sid: z.string(),
    caller: z.string(),
    business_number: z.string(),
    received_at: z.iso.datetime(),
    keyword: z.enum(['stop', 'start', 'help']).nullable(),
    /** Whether a first reply is owed: `none` inside a running conversation. */
    decision: z.enum(['reply', 'suppress', 'none']),
    reason: z.string().nullable(),
  }),
});

const outbound = {
  message_id: z.uuid(),
  /** The call or inbound text that this message answers. */
  trigger_id: z.uuid(),
  purpose: z.string(),
};

export const OutboundSmsQueued = defineEvent({
  name: 'nmc.telephony.OutboundSmsQueued',
  version: '1.0.0',
  description: 'The provider accepted a text: for a first reply, the stop of the clock. Emitted once per message.',
  schema: z.object({
    ...outbound,
    message_sid: z.string(),
    provider_status: z.string(),
    accepted_at: z.iso.datetime(),
    /** How it became known: the answer itself, a reconciliation, or a delivery callback that came first. */
    evidence: z.enum(['response', 'reconciled', 'callback']),
    stages_ms: z.object({
      webhook: z.number(),
      outbox_wait: z.number(),
      handler: z.number(),
      provider: z.number(),
    }),
  }),
});

export const OutboundSmsFailed = defineEvent({
  name: 'nmc.telephony.OutboundSmsFailed',
  version: '1.0.0',
  description: 'A text was definitely not accepted and will not be tried again.',
  schema: z.object({ ...outbound, reason: z.string(), error_code: z.number().int().nullable() }),
});

export const DeliveryUpdated = defineEvent({
  name: 'nmc.telephony.DeliveryUpdated',
  version: '1.0.0',
  description: 'The delivery state of a text moved forward.',
  schema: z.object({
    ...outbound,
    message_sid: z.string(),
    state: z.string(),
    error_code: z.number().int().nullable(),
  }),
});

import { z } from 'zod';
import { defineEvent } from '../../infra/outbox/event.js';

const consent = z.object({
  phone: z.string().describe('E.164'),
  basis: z.enum(['keyword', 'provider_refusal']).describe('What says so'),
  evidence_id: z.string().describe('MessageSid, or our message id'),
});

export const OptOutRecorded = defineEvent({
  name: 'nmc.compliance.OptOutRecorded',
  version: '1.0.0',
  description: 'A person must not be texted by this business any more.',
  schema: consent,
});

export const OptInRecorded = defineEvent({
  name: 'nmc.compliance.OptInRecorded',
  version: '1.0.0',
  description: 'A person who had opted out may be texted again.',
  schema: consent,
});

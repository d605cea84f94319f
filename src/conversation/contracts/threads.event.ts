import { z } from 'zod';
import { defineEvent } from '../../infra/outbox/event.js';

export const ConversationStarted = defineEvent({
  name: 'nmc.conversation.ConversationStarted',
  version: '1.0.0',
  description: 'The first contact between a caller and a business.',
  schema: z.object({
    thread_id: z.uuid(),
    caller: z.string().describe('E.164'),
    business_number: z.string().describe('The number that was called or texted'),
    trigger: z.enum(['call', 'text']),
    trigger_id: z.uuid().describe('The call or inbound text'),
  }),
});

import { Module } from '@nestjs/common';
import { TelephonyModule } from '../telephony/telephony.module.js';
import { ConversationApi } from './contracts/conversation.api.js';
import { FirstReplySubscriber } from './replies/first-reply.subscriber.js';
import { FirstReplyTemplates } from './replies/first-reply-template.service.js';
import { Threads } from './threads/threads.service.js';

@Module({
  imports: [TelephonyModule],
  providers: [FirstReplySubscriber, Threads, { provide: ConversationApi, useClass: FirstReplyTemplates }],
  exports: [ConversationApi],
})
export class ConversationModule {}

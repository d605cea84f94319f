import { Module } from '@nestjs/common';
import { ComplianceModule } from '../compliance/compliance.module.js';
import { ConversationModule } from '../conversation/conversation.module.js';
import { TelephonyModule } from '../telephony/telephony.module.js';
import { DeadLettersController } from './dead-letters/dead-letters.controller.js';
import { Onboarding } from './onboarding/onboarding.service.js';
import { TenantsController } from './onboarding/tenants.controller.js';

@Module({
  imports: [ComplianceModule, ConversationModule, TelephonyModule],
  controllers: [DeadLettersController, TenantsController],
  providers: [Onboarding],
})
export class OpsModule {}

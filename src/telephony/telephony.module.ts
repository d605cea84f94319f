import { Module } from '@nestjs/common';
import { TypeOrmModule } from '@nestjs/typeorm';
import { ComplianceModule } from '../compliance/compliance.module.js';
import { Calls } from './calls/calls.service.js';
import { TelephonyApi } from './contracts/telephony.api.js';
import { TwilioClient } from './integrations/twilio/twilio.client.js';
import { TwilioAccounts } from './integrations/twilio/twilio-accounts.service.js';
import { DeliveryUpdates } from './messages/delivery-updates.service.js';
import { InboundTexts } from './messages/inbound-texts.service.js';
import { MessageStates } from './messages/message-states.service.js';
import { SendingTimings } from './messages/sending.policy.js';
import { Sending } from './messages/sending.service.js';
import { Texts } from './messages/texts.service.js';
import { Line } from './numbers/line.entity.js';
import { Lines } from './numbers/lines.service.js';
import { TwilioWebhooks } from './webhooks/twilio.webhook.js';
import { WebhookIntake } from './webhooks/webhook-intake.service.js';

@Module({
  imports: [TypeOrmModule.forFeature([Line]), ComplianceModule],
  controllers: [TwilioWebhooks],
  providers: [
    Calls,
    DeliveryUpdates,
    InboundTexts,
    Lines,
    MessageStates,
    SendingTimings,
    Texts,
    TwilioAccounts,
    TwilioClient,
    WebhookIntake,
    { provide: TelephonyApi, useClass: Sending },
  ],
  exports: [TelephonyApi],
})
export class TelephonyModule {}

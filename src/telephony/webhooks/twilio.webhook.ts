import { Controller, Header, Query, Req, UseGuards } from '@nestjs/common';
import type { FastifyRequest } from 'fastify';
import { PinoLogger } from 'nestjs-pino';
import { Webhook } from '../../common/decorators/webhook.decorator.js';
import { describeRequest, elapsedMs } from '../../common/interceptors/http-edge.interceptor.js';
import { Config } from '../../infra/config/config.js';
import { Tenants } from '../../infra/tenancy/tenants.service.js';
import { type CallDecision, type CallSighting, Calls } from '../calls/calls.service.js';
import type { TwilioForm } from '../integrations/twilio/twilio-form.js';
import { TwilioWebhookGuard } from '../integrations/twilio/twilio-webhook.guard.js';
import { acknowledge, dialOwner, hangUp, sayMissed } from '../integrations/twilio/twiml.js';
import { DeliveryUpdates } from '../messages/delivery-updates.service.js';
import { InboundTexts } from '../messages/inbound-texts.service.js';
import type { Line } from '../numbers/line.entity.js';
import { Lines } from '../numbers/lines.service.js';
import { type Intake, required, WebhookIntake } from './webhook-intake.service.js';

/** Twilio's five webhooks. */
@Controller('webhooks/twilio')
@UseGuards(TwilioWebhookGuard)
export class TwilioWebhooks {
  constructor(
    private readonly intake: WebhookIntake,
    private readonly lines: Lines,
    private readonly calls: Calls,
    private readonly inbound: InboundTexts,
    private readonly deliveries: DeliveryUpdates,
    private readonly tenants: Tenants,
    private readonly config: Config,
    private readonly logger: PinoLogger,
  ) {}

  @Webhook('voice', { provider: 'twilio', endpoint: 'voice' })
  @Header('content-type', 'text/xml; charset=utf-8')
  voice(@Req() request: FastifyRequest): Promise<string> {
    return this.intake.take(request, 'voice', ['CallSid'], async (intake) => {
      const line = await this.lineOf(intake);
      if (!line) return hangUp();
      const rings = line.voiceMode === 'dial_owner' ? line.ownerPhone : null;
      const decision = await this.calls.see(intake.tx, line, sighting('voice', request, intake.form, rings !== null));
      if (rings !== null) return dialOwner(rings, `${this.config.env.PUBLIC_BASE_URL}/webhooks/twilio/dial-result`);
      return this.apologise(intake, line, decision);
    });
  }

  @Webhook('dial-result', { provider: 'twilio', endpoint: 'dial_result' })
  @Header('content-type', 'text/xml; charset=utf-8')
  dialResult(@Req() request: FastifyRequest): Promise<string> {
    return this.intake.take(request, 'dial_result', ['CallSid', 'DialCallStatus'], async (intake) => {
      const line = await this.lineOf(intake);
      if (!line) return hangUp();
      const decision = await this.calls.see(intake.tx, line, sighting('dial_result', request, intake.form, true));
      return decision === undefined ? hangUp() : this.apologise(intake, line, decision);
    });
  }

  @Webhook('voice-status', { provider: 'twilio', endpoint: 'voice_status' })
  @Header('content-type', 'text/xml; charset=utf-8')
  voiceStatus(@Req() request: FastifyRequest): Promise<string> {
    return this.intake.take(request, 'voice_status', ['CallSid', 'CallStatus'], async (intake) => {
      const line = await this.lineOf(intake);
      if (line) await this.calls.see(intake.tx, line, sighting('voice_status', request, intake.form, false));
      return acknowledge();
    });
  }

  @Webhook('sms-inbound', { provider: 'twilio', endpoint: 'sms_inbound' })
  @Header('content-type', 'text/xml; charset=utf-8')
  smsInbound(@Req() request: FastifyRequest): Promise<string> {
    return this.intake.take(request, 'sms_inbound', ['MessageSid'], async (intake) => {
      const line = await this.lineOf(intake);
      describeRequest(request, { body_preview: intake.form.first('Body') });
      if (line) await this.inbound.receive(intake.tx, line, intake.form, () => elapsedMs(request));
      return acknowledge();
    });
  }

  /** `m` and `a` are our message and attempt, put into the callback's URL when the text was sent. */
  @Webhook('sms-status', { provider: 'twilio', endpoint: 'sms_status' })
  @Header('content-type', 'text/xml; charset=utf-8')
  smsStatus(@Req() request: FastifyRequest, @Query('m') m?: string, @Query('a') a?: string): Promise<string> {
    return this.intake.take(request, 'sms_status', ['MessageSid', 'MessageStatus'], async (intake) => {
      const { form } = intake;
      const tenantId = await this.deliveries.apply(intake.tx, {
        accountSid: intake.accountSid,
        messageSid: required(form, 'MessageSid'),
        status: required(form, 'MessageStatus'),
        errorCode: Number(form.first('ErrorCode')) || undefined,
        messageId: m,
        attempt: Number(a) || undefined,
      });
      if (tenantId) intake.belongsTo(tenantId);
      return acknowledge();
    });
  }

  private async lineOf(intake: Intake): Promise<Line | undefined> {
    const line = await this.lines.ofNumber(intake.tx, required(intake.form, 'To'), intake.accountSid);
    if (line) intake.belongsTo(line.tenantId);
    else
      this.logger.warn(
        { provider: 'twilio', account_sid: intake.accountSid },
        'webhook for a number that no tenant has',
      );
    return line;
  }

  private async apologise({ tx }: Intake, line: Line, decision: CallDecision): Promise<string> {
    const { name } = await this.tenants.get(tx, line.tenantId);
    return sayMissed(name, decision === 'reply' || decision === 'defer');
  }
}

function sighting(
  source: CallSighting['source'],
  request: FastifyRequest,
  form: TwilioForm,
  dials: boolean,
): CallSighting {
  return {
    source,
    callSid: required(form, 'CallSid'),
    status: form.first(source === 'dial_result' ? 'DialCallStatus' : 'CallStatus') ?? '',
    from: form.first('From') ?? '',
    to: required(form, 'To'),
    forwardedFrom: form.first('ForwardedFrom'),
    durationSeconds: form.first('CallDuration') === undefined ? undefined : Number(form.first('CallDuration')),
    dials,
    elapsedMs: () => elapsedMs(request),
  };
}

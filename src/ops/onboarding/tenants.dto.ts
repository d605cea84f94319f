import { z } from 'zod';
import { A2P_STATUSES } from '../../compliance/contracts/compliance.api.js';

const e164 = z.string().regex(/^\+[1-9]\d{6,14}$/, 'must be an E.164 phone number, e.g. +14155550132');
const wallTime = z.string().regex(/^([01]\d|2[0-3]):[0-5]\d$/, 'must be HH:MM');

function isTimeZone(name: string): boolean {
  try {
    new Intl.DateTimeFormat('en', { timeZone: name });
    return true;
  } catch {
    return false;
  }
}

const settings = {
  name: z.string().trim().min(1).max(200),
  /** IANA name. */
  time_zone: z.string().refine(isTimeZone, 'must be an IANA time zone, e.g. America/New_York'),
  numbers: z
    .array(e164)
    .min(1)
    .max(50)
    .refine((numbers) => new Set(numbers).size === numbers.length, 'must not repeat a number'),
  voice_mode: z.enum(['forward_target', 'dial_owner']),
  owner_phone: e164.nullable(),
  messaging_service_sid: z
    .string()
    .regex(/^MG[0-9a-fA-F]{32}$/, 'must be MG and 32 hexadecimal digits')
    .nullable(),
  a2p_status: z.enum(A2P_STATUSES),
  /** One first reply per caller and window. */
  repeat_window_minutes: z.number().int().min(1).max(10_080),
  /** First replies of these hours wait until they end; null: any hour. */
  first_reply_quiet_hours: z.strictObject({ start: wallTime, end: wallTime }).nullable(),
  /** The tenant's own first reply with `{business}` in it; null: the default. */
  first_reply_template: z.string().max(500).nullable(),
  /** The tenant's own Twilio subaccount; its texts are sent and its webhooks signed by it. */
  twilio_account: z
    .strictObject({
      account_sid: z.string().regex(/^AC[0-9a-fA-F]{32}$/, 'must be AC and 32 hexadecimal digits'),
      auth_token: z.string().min(1).max(200),
    })
    .nullable(),
};

export const tenantChanges = z.strictObject(settings).partial();
export const newTenant = tenantChanges.required({ name: true, time_zone: true, numbers: true, voice_mode: true });

export type TenantChanges = z.output<typeof tenantChanges>;
export type NewTenant = z.output<typeof newTenant>;

import { Column, Entity, PrimaryColumn } from 'typeorm';

/** How a tenant's calls and texts run over the wire. */
@Entity({ schema: 'telephony', name: 'lines' })
export class Line {
  @PrimaryColumn('uuid', { name: 'tenant_id' })
  tenantId: string;

  /** `forward_target`: the owner forwards missed calls to us. `dial_owner`: our number is published, we ring the owner. */
  @Column('text', { name: 'voice_mode' })
  voiceMode: 'forward_target' | 'dial_owner';

  @Column('text', { name: 'owner_phone', nullable: true })
  ownerPhone: string | null;

  @Column('text', { name: 'messaging_service_sid', nullable: true })
  messagingServiceSid: string | null;

  @Column('int', { name: 'repeat_window_minutes', default: 60 })
  repeatWindowMinutes: number;

  /** `HH:MM`, with `quietEnd`; null: first replies go out at any hour. */
  @Column('text', { name: 'quiet_start', nullable: true })
  quietStart: string | null;

  @Column('text', { name: 'quiet_end', nullable: true })
  quietEnd: string | null;

  /** Completed calls shorter than this were missed after all; null, the default: rule off. */
  @Column('int', { name: 'short_call_seconds', nullable: true })
  shortCallSeconds: number | null;

  /** The tenant's own subaccount; null: the platform's. */
  @Column('text', { name: 'twilio_account_sid', nullable: true })
  twilioAccountSid: string | null;

  /** AES-256-GCM under `CREDENTIALS_KEY`: nonce, tag, ciphertext. */
  @Column('bytea', { name: 'twilio_auth_token', nullable: true })
  twilioAuthToken: Buffer | null;
}

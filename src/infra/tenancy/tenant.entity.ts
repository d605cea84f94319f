import { Column, Entity, PrimaryColumn, UpdateDateColumn } from 'typeorm';

/** A business. What each context needs to know of it beyond this lives in that context. */
@Entity({ schema: 'infra', name: 'tenants' })
export class Tenant {
  @PrimaryColumn('uuid', { name: 'tenant_id' })
  tenantId: string;

  @Column('text')
  name: string;

  /** IANA name. */
  @Column('text', { name: 'time_zone' })
  timeZone: string;

  @UpdateDateColumn({ type: 'timestamptz', name: 'updated_at' })
  updatedAt: Date;
}

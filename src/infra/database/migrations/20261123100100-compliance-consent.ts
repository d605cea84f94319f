import type { MigrationInterface, QueryRunner } from 'typeorm';

export class ComplianceConsent20261123100100 implements MigrationInterface {
  readonly name = 'ComplianceConsent20261123100100';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      create schema if not exists compliance;

      create table compliance.registrations (
        tenant_id   uuid primary key,
        a2p_status  text not null check (a2p_status in ('none', 'pending', 'approved', 'rejected')),
        updated_at  timestamptz not null default now()
      );

      create table compliance.consent_ledger (
        entry_id        bigint generated always as identity primary key,
        tenant_id       uuid not null,
        phone           text not null,
        kind            text not null check (kind in ('opt_out', 'opt_in', 'help')),
        basis           text not null,
        evidence_id     text not null,
        correlation_id  uuid not null,
        recorded_at     timestamptz not null default now(),
        unique (tenant_id, phone, evidence_id, kind)
      );
      comment on table compliance.consent_ledger is 'append-only; the latest opt_out or opt_in of a contact rules';
      create index consent_ledger_contact on compliance.consent_ledger (tenant_id, phone, entry_id desc);
    `);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('drop schema compliance cascade');
  }
}

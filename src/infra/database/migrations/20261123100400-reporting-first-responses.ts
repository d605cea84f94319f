import type { MigrationInterface, QueryRunner } from 'typeorm';

export class ReportingFirstResponses20261123100400 implements MigrationInterface {
  readonly name = 'ReportingFirstResponses20261123100400';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      create schema if not exists reporting;

      create table reporting.first_responses (
        trigger_id        uuid primary key,
        tenant_id         uuid not null,
        correlation_id    uuid not null,
        trigger_kind      text not null check (trigger_kind in ('call', 'text')),
        detected_at       timestamptz not null,
        first_sms_at      timestamptz,
        excluded_reason   text,
        failed_reason     text,
        webhook_ms        double precision,
        outbox_wait_ms    double precision,
        handler_ms        double precision,
        provider_ms       double precision,
        message_sid       text
      );
      -- Serves the rolling window of the objective by an index-only scan.
      create index first_responses_window on reporting.first_responses (detected_at)
        include (first_sms_at, excluded_reason);
      create index first_responses_tenant on reporting.first_responses (tenant_id, detected_at desc);
      create index first_responses_correlation on reporting.first_responses (correlation_id);
    `);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('drop schema reporting cascade');
  }
}

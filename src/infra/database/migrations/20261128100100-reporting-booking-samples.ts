import type { MigrationInterface, QueryRunner } from 'typeorm';

export class ReportingBookingSamples20261128100100 implements MigrationInterface {
  readonly name = 'ReportingBookingSamples20261128100100';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      create table reporting.booking_samples (
        sample_id       bigint generated always as identity primary key,
        answered_at     timestamptz not null,
        tenant_id       uuid not null,
        correlation_id  uuid not null,
        status          smallint,
        total_ms        double precision not null,
        own_ms          double precision not null,
        failed          boolean not null
      );
      comment on table reporting.booking_samples is
        'requests to the booking API that its objective counts, for three days: the percentile, and which ones were slow; docs/adr/0014';
      comment on column reporting.booking_samples.status is 'null: the caller hung up';
      -- Serves the rolling window of the percentile by an index-only scan.
      create index booking_samples_window on reporting.booking_samples (answered_at) include (own_ms, failed);

      -- Not in the key, which replicas of the release before name in their statement: no two objectives share a reason.
      alter table reporting.slo_exclusions add column slo text not null default 'first_sms';
      comment on column reporting.slo_exclusions.slo is
        'whose exclusion: first_sms (both objectives of the first text) or booking_api';
      comment on column reporting.slo_exclusions.tenant_id is 'all zeros: refused before it was known';
      comment on column reporting.slo_buckets.tenant_id is 'all zeros: failed before it was known';
    `);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`
      delete from reporting.slo_exclusions where slo <> 'first_sms';
      alter table reporting.slo_exclusions drop column slo;
      drop table reporting.booking_samples`);
  }
}

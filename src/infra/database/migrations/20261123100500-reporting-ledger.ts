import type { MigrationInterface, QueryRunner } from 'typeorm';

export class ReportingLedger20261123100500 implements MigrationInterface {
  readonly name = 'ReportingLedger20261123100500';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      create table reporting.ledger (
        metric  text not null,
        label   text not null default '',
        shard   smallint not null,
        total   bigint not null,
        primary key (metric, label, shard)
      ) with (fillfactor = 50);
      comment on table reporting.ledger is 'totals that only grow, in shards so that writers do not queue for one row';

      alter table reporting.first_responses
        add column unjudged text[] not null default array['first_sms', 'first_sms_60s'];
      comment on column reporting.first_responses.unjudged is 'objectives that have no verdict yet; each gives one, once';
      create index first_responses_unjudged on reporting.first_responses (detected_at)
        where unjudged <> '{}' and excluded_reason is null;

      create table reporting.slo_buckets (
        slo        text not null,
        bucket     timestamptz not null,
        tenant_id  uuid not null,
        good       int not null,
        bad        int not null,
        primary key (slo, bucket, tenant_id)
      );
      comment on table reporting.slo_buckets is 'verdicts by five minutes of the missed call: budgets and burn rates without a scan of calls';
    `);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`
      drop table reporting.slo_buckets;
      drop table reporting.ledger;
      alter table reporting.first_responses drop column unjudged`);
  }
}

import type { MigrationInterface, QueryRunner } from 'typeorm';

export class ReportingBadStage20261123100900 implements MigrationInterface {
  readonly name = 'ReportingBadStage20261123100900';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      create view telephony.first_reply_progress as
        select trigger_id, correlation_id, trigger_recorded_at, handler_started_at, submitted_at
        from telephony.messages where direction = 'outbound' and purpose = 'first_reply';
      comment on view telephony.first_reply_progress is
        'published to reporting: how far a first reply that is not accepted yet has got; docs/adr/0012';

      alter table reporting.first_responses
        add column bad_stage text check (bad_stage in ('webhook', 'outbox_wait', 'handler', 'provider'));
      comment on column reporting.first_responses.bad_stage is
        'of a call that broke the promise of 5 s: the stage that had eaten most of the time when it was judged';

      create table reporting.slo_exclusions (
        bucket     timestamptz not null,
        tenant_id  uuid not null,
        reason     text not null,
        calls      int not null,
        primary key (bucket, tenant_id, reason)
      );
      comment on table reporting.slo_exclusions is 'calls that no objective counts, beside slo_buckets: nobody looks good by leaving out';
    `);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`
      drop table reporting.slo_exclusions;
      alter table reporting.first_responses drop column bad_stage;
      drop view telephony.first_reply_progress`);
  }
}

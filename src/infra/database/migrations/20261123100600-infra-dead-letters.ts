import type { MigrationInterface, QueryRunner } from 'typeorm';

/** What operators decide about dead letters: retried as themselves, or discarded and kept on record; both audited. */
export class InfraDeadLetters20261123100600 implements MigrationInterface {
  readonly name = 'InfraDeadLetters20261123100600';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      alter table infra.outbox_dead_letters add column fence int not null default 1000000;
      comment on column infra.outbox_dead_letters.fence is 'of the delivery when it died; a retry goes on above it. The default is for what died before it was kept: above any in use';
      create index outbox_dead_letters_newest on infra.outbox_dead_letters (died_at, delivery_id);

      create table infra.outbox_discarded_letters (
        delivery_id     bigint primary key,
        event_id        uuid not null,
        event_name      text not null,
        subscriber      text not null,
        tenant_id       uuid not null,
        ordering_key    text not null,
        created_at      timestamptz not null,
        died_at         timestamptz not null,
        attempts        smallint not null,
        reason          text not null,
        error_code      text not null,
        fingerprint     text not null,
        discarded_at    timestamptz not null,
        discarded_by    text not null,
        discard_reason  text not null
      );

      create table infra.audit_log (
        audit_id  bigint generated always as identity primary key,
        at        timestamptz not null default clock_timestamp(),
        actor     text not null,
        action    text not null,
        subject   text not null,
        detail    jsonb not null
      );
      create function infra.refuse_change() returns trigger language plpgsql as $$
        begin raise exception '% is append-only', tg_table_name; end $$;
      create trigger audit_log_append_only before update or delete or truncate on infra.audit_log
        for each statement execute function infra.refuse_change();
    `);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`
      drop table infra.audit_log, infra.outbox_discarded_letters;
      drop function infra.refuse_change();
      drop index infra.outbox_dead_letters_newest;
      alter table infra.outbox_dead_letters drop column fence;
    `);
  }
}

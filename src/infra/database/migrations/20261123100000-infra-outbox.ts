import type { MigrationInterface, QueryRunner } from 'typeorm';

/**
 * The outbox. The event log and the history are append-only and partitioned by time (uuid v7 sorts by time, so the
 * log is partitioned by its own key); deliveries are the small, hot table between them.
 */
export class InfraOutbox20261123100000 implements MigrationInterface {
  readonly name = 'InfraOutbox20261123100000';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      create schema if not exists infra;

      create table infra.tenants (
        tenant_id   uuid primary key,
        name        text not null,
        time_zone   text not null,
        created_at  timestamptz not null default now(),
        updated_at  timestamptz not null default now()
      );

      create table infra.outbox_events (
        event_id        uuid not null,
        event_name      text not null,
        schema_version  text not null,
        tenant_id       uuid not null,
        occurred_at     timestamptz not null,
        correlation_id  uuid not null,
        causation_id    uuid,
        traceparent     text,
        ordering_key    text not null,
        payload         jsonb not null,
        primary key (event_id)
      ) partition by range (event_id);
      create table infra.outbox_events_default partition of infra.outbox_events default;
      create index outbox_events_correlation on infra.outbox_events (correlation_id);

      create table infra.outbox_deliveries (
        delivery_id   bigint generated always as identity primary key,
        event_id      uuid not null,
        event_name    text not null,
        subscriber    text not null,
        tenant_id     uuid not null,
        ordering_key  text not null,
        created_at    timestamptz not null default now(),
        due_at        timestamptz not null,
        available_at  timestamptz not null,
        owner         int,
        fence         int not null default 0,
        rescued       smallint not null default 0,
        started       smallint not null default 0,
        finished      smallint not null default 0,
        last_error    text
      ) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000,
              autovacuum_vacuum_cost_delay = 0, autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 2000);
      comment on column infra.outbox_deliveries.available_at is 'when it may be claimed: due time, retry time, or the end of the lease while owned';
      comment on column infra.outbox_deliveries.due_at is 'when it should have been delivered; in the future: scheduled, neither lag nor depth';
      create index outbox_deliveries_available on infra.outbox_deliveries (available_at, delivery_id);
      create index outbox_deliveries_lane on infra.outbox_deliveries (subscriber, ordering_key, delivery_id);
      create index outbox_deliveries_owner on infra.outbox_deliveries (owner) where owner is not null;

      create table infra.outbox_history (
        delivery_id   bigint not null,
        event_id      uuid not null,
        subscriber    text not null,
        tenant_id     uuid not null,
        attempts      smallint not null,
        created_at    timestamptz not null,
        completed_at  timestamptz not null
      ) partition by range (completed_at);
      create table infra.outbox_history_default partition of infra.outbox_history default;
      create index outbox_history_event on infra.outbox_history (event_id);

      create table infra.outbox_dead_letters (
        delivery_id   bigint primary key,
        event_id      uuid not null,
        event_name    text not null,
        subscriber    text not null,
        tenant_id     uuid not null,
        ordering_key  text not null,
        created_at    timestamptz not null,
        died_at       timestamptz not null default now(),
        attempts      smallint not null,
        reason        text not null,
        error_code    text not null,
        fingerprint   text not null
      );
      create index outbox_dead_letters_group on infra.outbox_dead_letters (subscriber, fingerprint);

      create table infra.outbox_instances (
        instance_id  int generated always as identity primary key,
        role         text not null,
        started_at   timestamptz not null default now()
      );

      create table infra.consumed_events (
        subscriber   text not null,
        event_id     uuid not null,
        consumed_at  timestamptz not null default now(),
        primary key (subscriber, event_id)
      );
    `);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('drop schema infra cascade');
  }
}

import type { MigrationInterface, QueryRunner } from 'typeorm';

/** As it was until the migration 20261128100000, which goes back to it. */
export const CREATE_OUTBOX_PUBLISH = `
      create function infra.outbox_publish(
        p_event_id uuid, p_event_name text, p_schema_version text, p_tenant_id uuid, p_occurred_at timestamptz,
        p_correlation_id uuid, p_causation_id uuid, p_traceparent text, p_ordering_key text, p_payload jsonb,
        p_lock_class int, p_lease_ms int, p_owner int, p_subscribers text[], p_due_at timestamptz[], p_gates text[]
      ) returns table (occurred_at timestamptz, delivery_id bigint, subscriber text, gate text, owner int, fence int)
      language plpgsql as $$
      #variable_conflict use_column
      declare
        v_occurred_at timestamptz := coalesce(p_occurred_at, clock_timestamp());
      begin
        if cardinality(p_subscribers) > 0 then
          perform pg_advisory_xact_lock(p_lock_class, hashtext(p_ordering_key));
        end if;
        insert into infra.outbox_events (event_id, event_name, schema_version, tenant_id, occurred_at, correlation_id,
          causation_id, traceparent, ordering_key, payload)
        values (p_event_id, p_event_name, p_schema_version, p_tenant_id, v_occurred_at, p_correlation_id,
          p_causation_id, p_traceparent, p_ordering_key, p_payload);
        return query
          with fresh as (
            insert into infra.outbox_deliveries (event_id, event_name, subscriber, tenant_id, ordering_key, gate, due_at, owner,
              available_at, leased_until)
            select p_event_id, p_event_name, s.subscriber, p_tenant_id, p_ordering_key, s.gate,
              coalesce(s.due_at, now()), o.owner,
              coalesce(s.due_at, clock_timestamp()),
              case when o.owner is null then '-infinity' else clock_timestamp() + p_lease_ms * interval '1 millisecond' end
            from unnest(p_subscribers, p_due_at, p_gates) as s (subscriber, due_at, gate)
            cross join lateral (
              select case when s.due_at is null and not exists (
                select 1 from infra.outbox_deliveries earlier
                where earlier.lane = hashtextextended(s.subscriber || '|' || p_ordering_key, 0)
                  and earlier.due_at <= clock_timestamp()
              ) then p_owner end as owner
            ) o
            returning delivery_id, subscriber, gate, owner, fence
          )
          select v_occurred_at, fresh.delivery_id, fresh.subscriber, fresh.gate, fresh.owner, fresh.fence from fresh;
      end $$;`;

/**
 * A claim writes no index entry: the lease has a column of its own that no index knows, so that the update stays within
 * the page, and what is finished leaves one dead entry instead of three. Lanes as a number, so that their index is small, and the publication of an event as a function: the lock that keeps
 * the order of a lane and the insert that must see what was committed while it waited are two statements, but one
 * round trip.
 */
export class InfraOutboxLanes20261123100800 implements MigrationInterface {
  readonly name = 'InfraOutboxLanes20261123100800';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      alter table infra.outbox_deliveries
        set (fillfactor = 50),
        add column leased_until timestamptz not null default '-infinity',
        add column lane bigint not null generated always as (hashtextextended(subscriber || '|' || ordering_key, 0)) stored;
      update infra.outbox_deliveries set leased_until = available_at, available_at = now() where owner is not null;
      drop index infra.outbox_deliveries_owner;
      comment on column infra.outbox_deliveries.available_at is 'since when it may be claimed: due time, retry time or release';
      comment on column infra.outbox_deliveries.leased_until is 'until when nobody but the owner may have it; not indexed, so that claims are HOT updates';
      comment on column infra.outbox_deliveries.lane is 'subscriber and ordering key; two that collide only wait for each other';
      drop index infra.outbox_deliveries_lane;
      create index outbox_deliveries_lane on infra.outbox_deliveries (lane, delivery_id);
      create index outbox_deliveries_first_response on infra.outbox_deliveries (delivery_id)
        where subscriber = 'reporting.first_response';

      ${CREATE_OUTBOX_PUBLISH}
    `);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`
      drop function infra.outbox_publish;
      drop index infra.outbox_deliveries_first_response;
      drop index infra.outbox_deliveries_lane;
      update infra.outbox_deliveries set available_at = leased_until where owner is not null;
      alter table infra.outbox_deliveries set (fillfactor = 70), drop column lane, drop column leased_until;
      create index outbox_deliveries_owner on infra.outbox_deliveries (owner) where owner is not null;
      create index outbox_deliveries_lane on infra.outbox_deliveries (subscriber, ordering_key, delivery_id);
    `);
  }
}

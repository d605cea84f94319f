import type { MigrationInterface, QueryRunner } from 'typeorm';
import { CREATE_OUTBOX_PUBLISH } from './20261123100800-infra-outbox-lanes.js';

/** What only holds up those after it once it is due. */
export const ONLY_DUE = 'and earlier.due_at <= clock_timestamp()';

/**
 * As it is with this migration. `which` narrows the earlier rows of a lane that keep one from being leased at birth,
 * `envelope` is what a delivery has with it of its event. The earlier rows are looked up by their lane, once for each
 * delivery, whatever there was when the plan was made: of a table that vacuum has found empty, the planner would read
 * everything, and go on doing so when it has filled. It would also hash the table, or look twice, which `offset 0` keeps
 * it from.
 */
export const createOutboxPublish = (which = '', { envelope = '' } = {}) => `
      create or replace function infra.outbox_publish(
        p_event_id uuid, p_event_name text, p_schema_version text, p_tenant_id uuid, p_occurred_at timestamptz,
        p_correlation_id uuid, p_causation_id uuid, p_traceparent text, p_ordering_key text, p_payload jsonb,
        p_lock_class int, p_lease_ms int, p_owner int, p_subscribers text[], p_due_at timestamptz[], p_gates text[]
      ) returns table (occurred_at timestamptz, delivery_id bigint, subscriber text, gate text, owner int, fence int)
      language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
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
          insert into infra.outbox_deliveries as d (event_id, event_name, subscriber, tenant_id, ordering_key, lane, gate,
            due_at, available_at, owner, leased_until${envelope && ', envelope'})
          select p_event_id, p_event_name, s.subscriber, p_tenant_id, p_ordering_key, s.lane, s.gate,
            coalesce(s.due_at, now()), coalesce(s.due_at, clock_timestamp()), o.owner,
            case when o.owner is null then '-infinity' else clock_timestamp() + p_lease_ms * interval '1 millisecond' end${envelope && `, ${envelope}`}
          from (
            select given.*, infra.outbox_lane(given.subscriber, p_ordering_key) as lane
            from unnest(p_subscribers, p_due_at, p_gates) as given (subscriber, due_at, gate)
          ) s
          cross join lateral (
            select case when s.due_at is null and not exists (
              select 1 from infra.outbox_deliveries earlier
              where earlier.lane = s.lane ${which}
              offset 0
            ) then p_owner end as owner
            offset 0
          ) o
          returning v_occurred_at, d.delivery_id, d.subscriber, d.gate, d.owner, d.fence;
      end $$;`;

/**
 * Lanes are given by whoever inserts: of a generated column, every update of a row that leaves it alone parses the
 * expression anew, which was a sixth of what a claim cost. And the publication is planned once a session: the planner
 * finds each plan for these very parameters a little cheaper than the generic one, and so made three at each call.
 */
export class InfraOutboxPace20261128100000 implements MigrationInterface {
  readonly name = 'InfraOutboxPace20261128100000';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      alter table infra.outbox_deliveries alter column lane drop expression;

      create function infra.outbox_lane(subscriber text, ordering_key text) returns bigint
      language sql immutable parallel safe
      return hashtextextended(subscriber || '|' || ordering_key, 0);

      drop function infra.outbox_publish;
      ${createOutboxPublish(ONLY_DUE)}
    `);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`
      drop function infra.outbox_publish;
      drop function infra.outbox_lane;
      drop index infra.outbox_deliveries_lane;
      alter table infra.outbox_deliveries drop column lane,
        add column lane bigint not null generated always as (hashtextextended(subscriber || '|' || ordering_key, 0)) stored;
      create index outbox_deliveries_lane on infra.outbox_deliveries (lane, delivery_id);
      ${CREATE_OUTBOX_PUBLISH}
    `);
  }
}

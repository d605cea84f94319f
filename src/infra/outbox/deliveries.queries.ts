/**
 * The SQL of the outbox. All times are the database's; `now()` is the start of the transaction, which is right for
 * leases (never longer than meant).
 */

/** A row may be claimed when it is due or its lease ran out, and nothing older waits in its lane. */
const HEAD_OF_LANE = `not exists (
        select 1 from infra.outbox_deliveries earlier
        where earlier.subscriber = c.subscriber and earlier.ordering_key = c.ordering_key
          and earlier.delivery_id < c.delivery_id)`;

const RETURNED = `d.delivery_id, d.fence, d.rescued, d.started, d.finished, d.subscriber,
  extract(epoch from clock_timestamp() - d.due_at)::float8 * 1000 as waited_ms,
  e.event_id, e.event_name, e.schema_version, e.tenant_id, e.occurred_at, e.correlation_id, e.causation_id,
  e.traceparent, e.ordering_key, e.payload`;

/**
 * The event and a delivery for each subscriber, in one round trip. A delivery that is due now and heads its lane is
 * born leased to the writing process ($12), which takes it over in memory after the commit.
 * Parameters: 1 event_id, 2 name, 3 version, 4 tenant, 5 occurred_at, 6 correlation, 7 causation, 8 traceparent,
 * 9 ordering key, 10 payload, 11 lease ms, 12 owner or null, 13 subscribers, 14 due times.
 */
export const INSERT_EVENT = `
  with event as (
    insert into infra.outbox_events (event_id, event_name, schema_version, tenant_id, occurred_at, correlation_id,
      causation_id, traceparent, ordering_key, payload)
    values ($1::uuid, $2::text, $3, $4::uuid, coalesce($5::timestamptz, clock_timestamp()), $6, $7, $8, $9::text, $10)
    returning occurred_at
  ), fresh as (
    insert into infra.outbox_deliveries (event_id, event_name, subscriber, tenant_id, ordering_key, due_at, owner, available_at)
    select $1::uuid, $2::text, s.subscriber, $4::uuid, $9::text, coalesce(s.due_at, now()), o.owner,
      case when o.owner is null then coalesce(s.due_at, now()) else now() + $11::int * interval '1 millisecond' end
    from unnest($13::text[], $14::timestamptz[]) as s (subscriber, due_at)
    cross join lateral (
      select case when s.due_at is null and not exists (
        select 1 from infra.outbox_deliveries earlier
        where earlier.subscriber = s.subscriber and earlier.ordering_key = $9::text
      ) then $12::int end as owner
    ) o
    returning delivery_id, subscriber, owner, fence
  )
  select event.occurred_at, fresh.delivery_id, fresh.subscriber, fresh.owner, fresh.fence
  from event left join fresh on true`;

/** Claims up to $2 due heads of lanes for owner $1, leased for $3 ms. Index: outbox_deliveries_available. */
export const CLAIM = `
  with claimed as (
    update infra.outbox_deliveries d
    set owner = $1, fence = d.fence + 1, available_at = now() + $3::int * interval '1 millisecond'
    where d.delivery_id = any (array(
      select c.delivery_id from infra.outbox_deliveries c
      where c.available_at <= now() and ${HEAD_OF_LANE}
      order by c.available_at, c.delivery_id
      limit $2
      for update skip locked))
    returning d.*
  )
  select ${RETURNED} from claimed d join infra.outbox_events e using (event_id) order by d.delivery_id`;

/**
 * Rows leased to owner $1 that it does not hold ($2 are the ids it does): commits whose outcome was unknown.
 * Given back at once instead of at the end of their lease. Index: outbox_deliveries_owner.
 */
export const RELEASE_STRAYS = `
  update infra.outbox_deliveries set owner = null, fence = fence + 1, available_at = now()
  where owner = $1 and not (delivery_id = any ($2::bigint[])) and created_at < now() - interval '2 seconds'`;

/** Extends the leases of what owner $1 holds. */
export const RENEW_LEASES = `
  update infra.outbox_deliveries set available_at = now() + $3::int * interval '1 millisecond'
  where owner = $1 and delivery_id = any ($2::bigint[])`;

/** Marks the start of a run whose earlier one ended with its process; only such rows pay for this write. */
export const MARK_STARTED = `
  update infra.outbox_deliveries set started = started + 1
  where delivery_id = $1 and fence = $2 and owner = $3 returning started`;

/**
 * Done: off the hot table and into the history, fenced, in one statement. Answers what was really ours, and whether
 * any of these lanes has a next row. Parameters: 1 ids, 2 fences, 3 attempts.
 */
export const COMPLETE = `
  with done as (
    delete from infra.outbox_deliveries d
    using unnest($1::bigint[], $2::int[], $3::int[]) as r (delivery_id, fence, attempts)
    where d.delivery_id = r.delivery_id and d.fence = r.fence
    returning d.*, r.attempts
  ), kept as (
    insert into infra.outbox_history (delivery_id, event_id, subscriber, tenant_id, attempts, created_at, completed_at)
    select delivery_id, event_id, subscriber, tenant_id, attempts, created_at, clock_timestamp() from done
  )
  select count(*)::int as completed, coalesce(bool_or(exists (
    select 1 from infra.outbox_deliveries next
    where next.subscriber = done.subscriber and next.ordering_key = done.ordering_key
      and next.delivery_id > done.delivery_id)), false) as more
  from done`;

/** Back to waiting. Parameters: 1 id, 2 fence, 3 delay ms, 4 attempts to add (0 for a snooze), 5 last error. */
export const RESCHEDULE = `
  update infra.outbox_deliveries
  set owner = null, fence = fence + 1, available_at = now() + $3::int * interval '1 millisecond',
      finished = finished + $4, started = 0, last_error = $5
  where delivery_id = $1 and fence = $2`;

/** Gives up, keeping everything a person needs. Parameters: 1 id, 2 fence, 3 attempts, 4 reason, 5 code, 6 fingerprint. */
export const BURY = `
  with dead as (delete from infra.outbox_deliveries where delivery_id = $1 and fence = $2 returning *)
  insert into infra.outbox_dead_letters (delivery_id, event_id, event_name, subscriber, tenant_id, ordering_key,
    created_at, attempts, reason, error_code, fingerprint)
  select delivery_id, event_id, event_name, subscriber, tenant_id, ordering_key, created_at, $3, $4, $5, $6 from dead`;

/** Gives unstarted rows back at shutdown. Parameters: 1 owner, 2 ids. */
export const RELEASE = `
  update infra.outbox_deliveries set owner = null, fence = fence + 1, available_at = now()
  where owner = $1 and delivery_id = any ($2::bigint[])`;

/**
 * Frees what dead processes held. A process lives exactly as long as its session holds the advisory lock
 * ($1 class, its instance id); whoever can take that lock has seen it die. $2 is our own instance.
 */
export const RESCUE = `
  with dead as (
    delete from infra.outbox_instances i
    where i.instance_id <> $2 and pg_try_advisory_xact_lock($1, i.instance_id)
    returning i.instance_id
  )
  update infra.outbox_deliveries d
  set owner = null, fence = d.fence + 1, rescued = d.rescued + 1, available_at = now()
  from dead where d.owner = dead.instance_id`;

/** Lag and depth as the specification defines them, deferred rows and dead letters apart. */
export const BACKLOG = `
  select coalesce(extract(epoch from clock_timestamp() - min(due_at)), 0)::float8 as lag_seconds,
    count(*)::int as depth,
    (select count(*)::int from infra.outbox_dead_letters) as dead_letters
  from infra.outbox_deliveries where due_at <= clock_timestamp()`;

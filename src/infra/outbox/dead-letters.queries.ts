import { LANE_MARGIN_MS } from './deliveries.queries.js';

/** First come, first served: whoever decides about dead letters sees what those before decided. */
export const DECISION_LOCK = 7_236_105;
export const LOCK_DECISIONS = 'select pg_advisory_xact_lock($1)';

/** Parameters: 1 subscriber, 2 fingerprint, 3 event name, 4 reason, 5 tenant; null matches everything. */
const MATCHING = `($1::text is null or l.subscriber = $1) and ($2::text is null or l.fingerprint = $2)
    and ($3::text is null or l.event_name = $3) and ($4::text is null or l.reason = $4)
    and ($5::uuid is null or l.tenant_id = $5)`;

/**
 * Newest first; after the one that died at $6 (microseconds since 1970: a JavaScript date would lose some) with id $7;
 * at most $8. The correlation id as a lookup, which no statistics can turn into a scan of the log.
 * Index: outbox_dead_letters_newest, backwards.
 */
export const LIST = `
  select l.delivery_id, l.event_id, l.event_name, l.subscriber, l.tenant_id,
    (select e.correlation_id from infra.outbox_events e where e.event_id = l.event_id) as correlation_id,
    l.created_at, l.died_at, l.attempts, l.reason, l.error_code, l.fingerprint,
    (extract(epoch from l.died_at) * 1000000)::bigint as died_at_us
  from infra.outbox_dead_letters l
  where ${MATCHING}
    and ($6::bigint is null
      or (l.died_at, l.delivery_id) < ('epoch'::timestamptz + $6::bigint * interval '1 microsecond', $7::bigint))
  order by l.died_at desc, l.delivery_id desc
  limit $8::int`;

/**
 * In an order that no new death changes; after the group $6 to $9, at most $10. By the fingerprint's digest, which can
 * travel in a cursor where the text could not.
 */
export const GROUPS = `
  select l.subscriber, l.event_name, l.reason, l.fingerprint, md5(l.fingerprint) as digest, count(*)::int as count,
    min(l.died_at) as oldest_died_at, max(l.died_at) as newest_died_at
  from infra.outbox_dead_letters l
  where ${MATCHING}
    and ($6::text is null
      or (l.subscriber, l.event_name, l.reason, md5(l.fingerprint)) > ($6, $7::text, $8::text, $9::text))
  group by l.subscriber, l.event_name, l.reason, l.fingerprint
  order by l.subscriber, l.event_name, l.reason, digest
  limit $10::int`;

/** The named ones that are there. */
export const PICK_NAMED = `
  select delivery_id, count(*) over ()::int as matching from infra.outbox_dead_letters where delivery_id = any ($1::bigint[])`;

/** The oldest of a group, at most $6. Index: outbox_dead_letters_group. */
export const PICK_GROUP = `
  select l.delivery_id, count(*) over ()::int as matching from infra.outbox_dead_letters l
  where ${MATCHING}
  order by l.delivery_id limit $6::int`;

/** The oldest, at most $1. */
export const PICK_ALL = `
  select delivery_id, count(*) over ()::int as matching from infra.outbox_dead_letters order by delivery_id limit $1::int`;

/**
 * Puts deliveries $1 back as themselves, with all their attempts, $2 a second, tenants in turn. Each is scheduled for its
 * own turn by both times: due already, it would head its lane and hold up what came after it, and count as lag. So are the
 * first: whoever takes something later of their lanes at this moment does not see them yet. Within a tenant, and so within
 * a lane, in the order of ids. The fence goes on: a process that was frozen before the death, or that repeats its burial,
 * finds a delivery it does not hold.
 */
export const RETRY = `
  with picked as (
    delete from infra.outbox_dead_letters where delivery_id = any ($1::bigint[]) returning *
  ), turns as (
    select *, row_number() over (partition by tenant_id order by delivery_id) as turn from picked
  ), paced as (
    select *, statement_timestamp() + interval '${LANE_MARGIN_MS} milliseconds'
      + (row_number() over (order by turn, delivery_id) - 1) * interval '1 second' / $2::int as due_at
    from turns
  ), back as (
    insert into infra.outbox_deliveries (delivery_id, event_id, event_name, subscriber, tenant_id, ordering_key, lane,
      created_at, due_at, available_at, fence)
    overriding system value
    select delivery_id, event_id, event_name, subscriber, tenant_id, ordering_key,
      infra.outbox_lane(subscriber, ordering_key), created_at, due_at, due_at, fence + 1
    from paced
    returning due_at
  )
  select count(*)::int as retried, max(due_at) as last_due_at from back`;

/** Off the list, and kept on record. Parameters: 1 ids, 2 by whom, 3 why. */
export const DISCARD = `
  with gone as (
    delete from infra.outbox_dead_letters where delivery_id = any ($1::bigint[]) returning *
  ), kept as (
    insert into infra.outbox_discarded_letters (delivery_id, event_id, event_name, subscriber, tenant_id, ordering_key,
      created_at, died_at, attempts, reason, error_code, fingerprint, discarded_at, discarded_by, discard_reason)
    select delivery_id, event_id, event_name, subscriber, tenant_id, ordering_key,
      created_at, died_at, attempts, reason, error_code, fingerprint, clock_timestamp(), $2, $3
    from gone
  )
  select count(*)::int as discarded from gone`;

/** Whether a person or a subscriber still has to see event `e`; neither side has many rows. */
const IS_REFERENCED = `(
  exists (select 1 from infra.outbox_deliveries d where d.event_id = e.event_id)
  or exists (select 1 from infra.outbox_dead_letters l where l.event_id = e.event_id))`;

/** Moves what is still needed out of a detached partition into the default one; `name` is one of ours, never input. */
export const KEEP_REFERENCED_EVENTS = (name: string) => `
  insert into infra.outbox_events select e.* from infra.${name} e
  where e.event_id in (
    select event_id from infra.outbox_deliveries union select event_id from infra.outbox_dead_letters)`;

/** Events of the default partition before $1, at most $2 of them. Index: its primary key. */
export const PURGE_DEFAULT_EVENTS = `
  with gone as (
    delete from infra.outbox_events_default where event_id = any (array(
      select e.event_id from infra.outbox_events_default e
      where e.event_id < $1::uuid and not ${IS_REFERENCED}
      order by e.event_id limit $2::int))
    returning 1
  ) select count(*)::int as purged from gone`;

/** History of the default partition before $1, at most $2 rows. */
export const PURGE_DEFAULT_HISTORY = `
  with gone as (
    delete from infra.outbox_history_default where ctid = any (array(
      select ctid from infra.outbox_history_default where completed_at < $1::timestamptz limit $2::int))
    returning 1
  ) select count(*)::int as purged from gone`;

/** Every subscriber that remembers anything, found by skipping through the primary key of consumed_events. */
export const SUBSCRIBERS_OF_CONSUMED = `
  with recursive s as (
    (select subscriber from infra.consumed_events order by subscriber limit 1)
    union all
    select (select c.subscriber from infra.consumed_events c where c.subscriber > s.subscriber order by c.subscriber limit 1)
    from s where s.subscriber is not null
  ) select subscriber from s where subscriber is not null`;

/** What subscriber $1 remembers of events before $2, if it was consumed before $3, too; at most $4 rows. Index: primary key. */
export const FORGET_CONSUMED = `
  with gone as (
    delete from infra.consumed_events where subscriber = $1 and event_id = any (array(
      select event_id from infra.consumed_events
      where subscriber = $1 and event_id < $2::uuid and consumed_at < $3::timestamptz
      order by event_id limit $4::int))
    returning 1
  ) select count(*)::int as purged from gone`;

/** What vacuum has left to do in the deliveries, as the statistics have it: a little behind the truth. */
export const DEAD_TUPLES = `
  select n_dead_tup::float8 as dead from pg_stat_user_tables where relid = 'infra.outbox_deliveries'::regclass`;

/**
 * What keeps vacuum from removing dead rows of this database, oldest first in both figures: snapshots and transactions
 * of sessions, standbys with feedback, replication slots, prepared transactions. A snapshot of another database is in
 * nobody's way; a running transaction of it is, because it is in everybody's snapshots. Vacuum itself does not count.
 *
 * Slots and standbys say how many transactions they are behind, not since when: in seconds only the rest is known.
 *
 * Sessions of other roles show what they hold only to `pg_read_all_stats`; `hidden` are those that this role cannot
 * judge, the server's own workers aside.
 */
export const HELD_SNAPSHOTS = `
  with holders as (
    select greatest(age(a.backend_xmin), age(a.backend_xid)) as transactions,
      clock_timestamp() - a.xact_start as held
    from pg_stat_activity a
    where a.pid <> pg_backend_pid() and (a.backend_xmin is not null or a.backend_xid is not null)
      and (a.backend_xid is not null or a.datid is null or a.datname = current_database())
      and a.backend_type <> 'autovacuum worker'
      and not exists (select 1 from pg_stat_progress_vacuum v where v.pid = a.pid)
    union all
    select age(r.backend_xmin), null from pg_stat_replication r where r.backend_xmin is not null
    union all
    select greatest(age(s.xmin), age(s.catalog_xmin)), null from pg_replication_slots s
    where s.xmin is not null or s.catalog_xmin is not null
    union all
    select age(p.transaction), clock_timestamp() - p.prepared from pg_prepared_xacts p
  )
  select coalesce(max(transactions), 0)::int as transactions,
    coalesce(extract(epoch from max(held)), 0)::float8 as seconds,
    (select count(*)::int from pg_stat_activity where backend_type is null and usesysid is not null) as hidden
  from holders`;

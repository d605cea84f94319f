/**
 * The SQL of the outbox. All times are the database's. `now()` is the start of the transaction, which in statements of
 * their own is the present; inside a business transaction only `statement_timestamp()` is.
 */

/**
 * Start-up options of the connections that these run on. The claim reads its index in order and stops when it has
 * enough, whatever the statistics say, and is not planned anew each time. A scan of the table, or of a bitmap that is
 * sorted afterwards, reads everything that is due.
 */
export const PINNED_PLANS = [
  ...['seqscan', 'bitmapscan', 'hashjoin', 'mergejoin'].map((path) => `-c enable_${path}=off`),
  '-c jit=off -c plan_cache_mode=force_generic_plan',
].join(' ');
/**
 * A scheduled row takes its place in its lane this long before it is due: a claim that saw it scheduled, and took a later
 * row of the lane, has committed by the time that another claim sees it due. One that took longer has to `YIELD`.
 */
export const LANE_MARGIN_MS = 1_000;
/** When it must have been due, or scheduled for, to come before what is younger in its lane. */
const IN_PLACE_BY = `now() + interval '${LANE_MARGIN_MS} milliseconds'`;
/**
 * A lane (subscriber and ordering key) is worked off one row at a time, oldest first. A row scheduled for later keeps
 * nobody waiting; once due it takes its place again, and then must not overtake a row that is already being run.
 * Correlated on purpose: a join here would be planned as a scan of the whole table. Index: outbox_deliveries_lane.
 */
const HEAD_OF_LANE = `not exists (
        select 1 from infra.outbox_deliveries other
        where other.lane = c.lane and other.delivery_id <> c.delivery_id
          and (other.leased_until > now() or (other.delivery_id < c.delivery_id and other.due_at <= ${IN_PLACE_BY}))
        offset 0)`;

/** Microseconds since the epoch, exact: a double has room for those of 285 years. `extract` would compute in decimals. */
const MICROSECONDS = (time: string) => `round(date_part('epoch', ${time}) * 1000000)`;

/**
 * A claimed row (d), in the order of `ClaimedRow`, with its event: enclosed, or looked up, by a function of its own, as each
 * claim would else open every partition of the log. An event that is gone still yields its row, which then fails its schema
 * and becomes a dead letter, not a ghost. What nearly always is the same comes as null: it is neither sent nor read.
 */
const RETURNED = `d.delivery_id, d.fence, nullif(d.rescued, 0) as rescued, nullif(d.started, 0) as started,
  nullif(d.finished, 0) as finished, d.subscriber, d.gate, nullif(d.last_error is not null, false) as has_failed,
  date_part('epoch', clock_timestamp() - d.due_at) * 1000 as waited_ms, ${MICROSECONDS('d.available_at')} as available_at,
  d.event_id, d.event_name, d.tenant_id, d.ordering_key,
  coalesce(d.envelope, infra.outbox_envelope_of(d.event_id)) as envelope`;

/** First key of the locks that put the writers of one ordering key one behind the other, until their commits. */
export const ORDER_LOCK_CLASS = 7_236_104;

/**
 * The event and a delivery for each subscriber, in one round trip. Within a lane, ids are given in the order of the
 * commits, so that nobody is taken for the head while an older row is still unseen. A delivery that is due now and
 * has its lane to itself is born leased to the writing process ($13), which takes it over in memory after the commit.
 * Parameters: 1 event_id, 2 name, 3 version, 4 tenant, 5 occurred_at, 6 correlation, 7 causation, 8 traceparent,
 * 9 ordering key, 10 payload, 11 lock class, 12 lease ms, 13 owner or null, 14 subscribers, 15 due times, 16 gates.
 */
export const PUBLISH = `
  select date_part('epoch', occurred_at) * 1000 as occurred_at, delivery_id, subscriber, gate, owner, fence
  from infra.outbox_publish($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)`;

/** What may be claimed now, first things first, passing over the tenants and the gates in the given parameters. */
const CLAIMABLE = (tenants: string, gates: string) => `infra.outbox_deliveries c
      where c.available_at <= now() and c.leased_until <= now() and not (c.tenant_id = any (${tenants}::uuid[]))
        and coalesce(c.gate, '') <> all (${gates}::text[]) and ${HEAD_OF_LANE}`;

/**
 * A row that may still be written to by whom it was given to with `fence`: nobody has got it since. Fences only grow, so an
 * earlier one means that a crash of the server has forgotten the claim, which is nothing that waits for the disk (ADR 16);
 * until somebody claims the row anew, the forgotten claim counts.
 */
const STILL_HELD = (row: string, fence: string) =>
  `(${row}.fence = ${fence} or (${row}.fence < ${fence} and ${row}.leased_until <= now()))`;

/** Index: outbox_deliveries_lane. */
const LANE_FREE_FOR = (row: string) => `not exists (
      select 1 from infra.outbox_deliveries other
      where other.lane = ${row}.lane and other.delivery_id <> ${row}.delivery_id and other.owner is not null)`;

const claimOf = (ids: string) => `
  update infra.outbox_deliveries d
  set owner = $1, fence = d.fence + 1, leased_until = now() + $2::int * interval '1 millisecond'
  where d.delivery_id = any (array(${ids}))
  returning ${RETURNED}`;

/**
 * Claims up to $3 due heads of lanes for owner $1, leased for $2 ms, passing over the tenants in $4, of which it holds
 * enough, and the gates in $5, which let no more through. Looks only behind the floor ($6 microseconds of available_at,
 * $7 delivery_id): what is finished leaves dead entries at the front of the index, as many as there were rows since the
 * oldest snapshot that somebody holds. Index: outbox_deliveries_available.
 */
export const CLAIM = claimOf(`
      select c.delivery_id from ${CLAIMABLE('$4', '$5')}
        and (c.available_at, c.delivery_id) > (timestamptz 'epoch' + $6::bigint * interval '1 microsecond', $7::bigint)
      order by c.available_at, c.delivery_id
      limit $3
      for update skip locked`);

/**
 * Claims for owner $1, leased for $2 ms, what waits longest behind each of the gates in $3, which are half-open: their
 * probes. Index: outbox_deliveries_gate.
 */
export const CLAIM_PROBES = claimOf(`
      select probe.delivery_id from unnest($3::text[]) as half_open (gate)
      cross join lateral (
        select c.delivery_id from infra.outbox_deliveries c
        where c.gate = half_open.gate and c.available_at <= now() and c.leased_until <= now() and ${HEAD_OF_LANE}
        order by c.available_at, c.delivery_id
        limit 1
        for update skip locked
      ) probe`);

/**
 * The first row that may be claimed of those available since $3, passing over the tenants in $1 and the gates in $2; one
 * row always, with the time of the look. Times in microseconds. Index: outbox_deliveries_available.
 */
export const FIRST_CLAIMABLE = `
  select ${MICROSECONDS('now()')} as looked_at, first.at, first.delivery_id
  from (select) always left join lateral (
      select ${MICROSECONDS('c.available_at')} as at, c.delivery_id from ${CLAIMABLE('$1', '$2')}
        and c.available_at >= timestamptz 'epoch' + $3::bigint * interval '1 microsecond'
      order by c.available_at, c.delivery_id
      limit 1
  ) first on true`;

/** Rows that have an owner are available ones: nothing but this index knows where they are. */
const AVAILABLE = 'd.available_at <= now()';
const FREED = "owner = null, fence = d.fence + 1, leased_until = '-infinity', available_at = now()";

/** What owner $1 owns. Index: outbox_deliveries_available. */
export const OWNED = `
  select delivery_id, fence from infra.outbox_deliveries d where ${AVAILABLE} and owner = $1`;

/**
 * Gives back those of the rows $2, just claimed for owner $1, whose lane an older row has been leased of meanwhile.
 * Index: outbox_deliveries_lane.
 */
export const YIELD = `
  update infra.outbox_deliveries d set ${FREED}
  where d.owner = $1 and d.delivery_id = any ($2::bigint[]) and exists (
    select 1 from infra.outbox_deliveries older
    where older.lane = d.lane and older.delivery_id < d.delivery_id and older.leased_until > now())
  returning d.delivery_id`;

/** Gives rows back, each only as it was seen. Parameters: 1 owner, 2 ids, 3 fences. */
export const RELEASE = `
  update infra.outbox_deliveries d set ${FREED}
  from unnest($2::bigint[], $3::int[]) as r (delivery_id, fence)
  where d.owner = $1 and d.delivery_id = r.delivery_id and d.fence = r.fence`;

/** Ends an instance ($1) in order: gives back whatever it still owns. */
export const RELEASE_ALL = `
  update infra.outbox_deliveries d set ${FREED} where ${AVAILABLE} and owner = any ($1::int[])`;
export const FORGET_INSTANCES = 'delete from infra.outbox_instances where instance_id = any ($1::int[])';

/**
 * A process that lost its session and has a new one takes along what it holds, unless others were faster: its running
 * handlers stay the owners of their rows, also of those whose claim a crash of the server has forgotten. A lease that is not
 * there any more is given anew where the lane has not gone on to another row meanwhile.
 * Parameters: 1 former instances, 2 new one, 3 ids, 4 fences, 5 lease ms.
 */
export const ADOPT = `
  update infra.outbox_deliveries d
  set owner = $2, fence = r.fence, leased_until = now() + $5::int * interval '1 millisecond'
  from (
    select delivery_id, max(fence) as fence from unnest($3::bigint[], $4::int[]) as held (delivery_id, fence) group by delivery_id
  ) r
  where d.delivery_id = r.delivery_id and ${STILL_HELD('d', 'r.fence')} and (d.fence < r.fence or d.owner = any ($1::int[]))
    and (d.leased_until > now() or ${LANE_FREE_FOR('d')})
  returning d.delivery_id, d.fence`;

/** Whether somebody registered, other than $2, has no session just now ($1 lock class): it may be on its way back. */
export const IS_SOMEBODY_MISSING = `
  select exists (
    select 1 from infra.outbox_instances i
    where i.instance_id <> $2 and pg_try_advisory_xact_lock_shared($1, i.instance_id)) as is_missing`;

/**
 * Frees rows of owners that are not registered: commits that came after their process had gone, or after whoever saw it
 * gone had begun to look. Taken over from the dead as well: a run of theirs may have been what ended it.
 */
export const RELEASE_ORPHANS = `
  update infra.outbox_deliveries d set ${FREED}, rescued = d.rescued + 1
  where ${AVAILABLE} and d.owner is not null
    and not exists (select 1 from infra.outbox_instances i where i.instance_id = d.owner)`;

/**
 * Extends the leases of what owner $1 holds: 2 ids, 3 fences, 4 lease ms. Passes over rows whose result is just being
 * written: waiting for them in another order than the writer's is a deadlock, and they need no lease any more. A lease that
 * ran out stays out where its lane has gone on to another row meanwhile.
 */
export const RENEW_LEASES = `
  update infra.outbox_deliveries d set leased_until = now() + $4::int * interval '1 millisecond'
  from (
    select ours.delivery_id from infra.outbox_deliveries ours
    join unnest($2::bigint[], $3::int[]) as r (delivery_id, fence) using (delivery_id, fence)
    where ours.owner = $1 and (ours.leased_until > now() or ${LANE_FREE_FOR('ours')})
    for update of ours skip locked
  ) free
  where d.delivery_id = free.delivery_id`;

/** Marks the start of a run whose earlier one ended with its process; only such rows pay for this write. */
export const MARK_STARTED = `
  update infra.outbox_deliveries set started = started + 1
  where delivery_id = $1 and fence = $2 returning started`;

const PLACE = (row: string) => `${MICROSECONDS(`${row}.available_at`)} as ${row}_at, ${row}.delivery_id as ${row}_id`;
const FIRST_IN_LINE = (which: string) =>
  `select available_at, delivery_id from next where ${which} order by available_at, delivery_id limit 1`;

/**
 * Done: off the hot table and into the history, fenced, in one statement. Answers how many were really ours, and of the
 * rows that now head these lanes the first in line, those of the tenants in $4 and the gates in $5 apart: since when it has
 * been available, in microseconds, and its id; null when there is none.
 * Parameters: 1 ids, 2 fences, 3 attempts. Indexes: outbox_deliveries_pkey, outbox_deliveries_lane.
 */
export const COMPLETE = `
  with done as (
    delete from infra.outbox_deliveries d
    using unnest($1::bigint[], $2::int[], $3::int[]) as r (delivery_id, fence, attempts)
    where d.delivery_id = r.delivery_id and ${STILL_HELD('d', 'r.fence')}
    returning d.delivery_id, d.event_id, d.subscriber, d.tenant_id, d.created_at, d.lane, r.attempts
  ), kept as (
    insert into infra.outbox_history (delivery_id, event_id, subscriber, tenant_id, attempts, created_at, completed_at)
    select delivery_id, event_id, subscriber, tenant_id, attempts, created_at, clock_timestamp() from done
  ), next as (
    select head.* from done cross join lateral (
      select available_at, delivery_id, tenant_id = any ($4::uuid[]) or coalesce(gate, '') = any ($5::text[]) as is_passed_over
      from infra.outbox_deliveries head
      where head.lane = done.lane and head.delivery_id <> done.delivery_id and head.due_at <= now()
      order by head.delivery_id limit 1
    ) head
  )
  select (select count(*)::int from done) as completed, ${PLACE('usual')}, ${PLACE('passed_over')}
  from (select) always
  left join lateral (${FIRST_IN_LINE('not is_passed_over')}) usual on true
  left join lateral (${FIRST_IN_LINE('is_passed_over')}) passed_over on true`;

/** Back to waiting. Parameters: 1 id, 2 fence, 3 delay ms, 4 attempts to add (0 for a snooze), 5 last error. */
export const RESCHEDULE = `
  update infra.outbox_deliveries d
  set owner = null, fence = $2 + 1, leased_until = '-infinity', available_at = now() + $3::float8 * interval '1 millisecond',
      finished = finished + $4, started = 0, last_error = $5
  where delivery_id = $1 and ${STILL_HELD('d', '$2')}`;

/** Gives up, keeping everything a person needs. Parameters: 1 id, 2 fence, 3 attempts, 4 reason, 5 code, 6 fingerprint. */
export const BURY = `
  with dead as (delete from infra.outbox_deliveries d where delivery_id = $1 and ${STILL_HELD('d', '$2')} returning *)
  insert into infra.outbox_dead_letters (delivery_id, event_id, event_name, subscriber, tenant_id, ordering_key,
    created_at, attempts, reason, error_code, fingerprint, fence)
  select delivery_id, event_id, event_name, subscriber, tenant_id, ordering_key, created_at, $3, $4, $5, $6, $2 from dead`;

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
  set ${FREED}, rescued = d.rescued + 1
  from dead where ${AVAILABLE} and d.owner = dead.instance_id`;

/** Lag and depth as the specification defines them, deferred rows and dead letters apart. */
export const BACKLOG = `
  select coalesce(extract(epoch from clock_timestamp() - min(due_at)), 0)::float8 as lag_seconds,
    count(*)::int as depth,
    (select count(*)::int from infra.outbox_dead_letters) as dead_letters
  from infra.outbox_deliveries where due_at <= clock_timestamp()`;

import { FILE_VERDICTS } from './budget.queries.js';

/**
 * Files the requests to the booking API in $2 (JSON) under objective $1: those that count as samples and verdicts, the
 * others by reason. Ages are counted back from the database's clock, so that no replica's clock matters. Answers how many
 * there were of each kind, in one order everywhere: whoever counts them on locks rows in it.
 */
export const FILE_BOOKINGS = `
  with answered as (
    select now() - age_ms * interval '1 millisecond' as answered_at, r.*
    from json_to_recordset($2::json) as r (age_ms float8, tenant_id uuid, correlation_id uuid, status smallint,
      total_ms float8, own_ms float8, kept boolean, failed boolean, reason text)
  ), judged as (
    select date_bin('5 minutes', answered_at, 'epoch') as bucket, tenant_id, kept from answered where reason is null
  ), filed as (${FILE_VERDICTS}
  ), sampled as (
    insert into reporting.booking_samples (answered_at, tenant_id, correlation_id, status, total_ms, own_ms, failed)
    select answered_at, tenant_id, correlation_id, status, total_ms, own_ms, failed from answered where reason is null
  ), left_out as (
    insert into reporting.slo_exclusions (slo, bucket, tenant_id, reason, calls)
    select $1::text, date_bin('5 minutes', answered_at, 'epoch') as bucket, tenant_id, reason, count(*)
    from answered where reason is not null group by bucket, tenant_id, reason order by bucket, tenant_id, reason
    on conflict (bucket, tenant_id, reason) do update set calls = reporting.slo_exclusions.calls + excluded.calls
  )
  select kept, reason, count(*)::int as requests from answered group by kept, reason
  order by reason, kept`;

/**
 * P95 over the last $1 minutes, of whichever replica; a failed request counts at $2 ms, or as long as it took if that is
 * longer. Index: booking_samples_window.
 */
export const BOOKING_P95 = `
  select percentile_disc(0.95) within group (order by case when failed then greatest(own_ms, $2::float8) else own_ms end)
    as p95_ms
  from reporting.booking_samples where answered_at > now() - $1::int * interval '1 minute'`;

/** Samples that no window and no runbook asks for any more, at most $1 of them. Index: booking_samples_window. */
export const PURGE_SAMPLES = `
  delete from reporting.booking_samples where sample_id = any (array(
    select sample_id from reporting.booking_samples where answered_at < now() - interval '3 days'
    order by answered_at limit $1::int for update skip locked))`;

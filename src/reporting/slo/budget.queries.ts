/**
 * Gives every call that is due its verdict on objective $1 (threshold $2 in seconds), once, and files it under the five
 * minutes of the missed call. Late is bad, and open beyond the threshold is bad, whatever comes later.
 * Index: first_responses_unjudged.
 */
export const JUDGE = `
  with judged as (
    update reporting.first_responses
    set unjudged = array_remove(unjudged, $1::text)
    where unjudged <> '{}' and excluded_reason is null and $1::text = any (unjudged)
      and (first_sms_at is not null or detected_at < now() - $2::float8 * interval '1 second')
    returning tenant_id, date_bin('5 minutes', detected_at, 'epoch') as bucket,
      coalesce(first_sms_at - detected_at <= $2::float8 * interval '1 second', false) as kept
  ), filed as (
    insert into reporting.slo_buckets (slo, bucket, tenant_id, good, bad)
    select $1::text, bucket, tenant_id, count(*) filter (where kept), count(*) filter (where not kept)
    from judged group by bucket, tenant_id
    on conflict (slo, bucket, tenant_id) do update
      set good = reporting.slo_buckets.good + excluded.good, bad = reporting.slo_buckets.bad + excluded.bad
  )
  select count(*) filter (where kept)::int as good, count(*) filter (where not kept)::int as bad from judged`;

/** Good and bad of objective $1 over each of the windows $2 (minutes), to the resolution of a bucket. */
export const COUNT_WINDOWS = `
  select w.minutes, coalesce(sum(b.good), 0)::float8 as good, coalesce(sum(b.bad), 0)::float8 as bad
  from unnest($2::int[]) as w (minutes)
  left join reporting.slo_buckets b
    on b.slo = $1 and b.bucket > now() - (w.minutes + 5) * interval '1 minute'
  group by w.minutes`;

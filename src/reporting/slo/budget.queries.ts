/**
 * The stage that had eaten most of a first reply's time. An answered call has all four; of an open one, where it stands
 * counts up to now: at the provider, in the handler, or, without a message yet, behind a delivery not once finished.
 * Indexes: messages_correlation, outbox_events_correlation.
 */
const STAGE_OF_R = `
  case when r.first_sms_at is not null then (
    select stage from (values ('webhook', r.webhook_ms), ('outbox_wait', r.outbox_wait_ms), ('handler', r.handler_ms),
      ('provider', r.provider_ms)) as spent (stage, ms)
    where ms is not null order by ms desc limit 1
  ) else coalesce((
    select stage from telephony.first_reply_progress p, lateral (values
      ('webhook', p.trigger_recorded_at - r.detected_at),
      ('outbox_wait', p.handler_started_at - p.trigger_recorded_at),
      ('handler', coalesce(p.submitted_at, clock_timestamp()) - p.handler_started_at),
      ('provider', clock_timestamp() - p.submitted_at)) as spent (stage, time)
    where p.correlation_id = r.correlation_id and p.trigger_id = r.trigger_id and time is not null
    order by time desc limit 1
  ), (
    select case when bool_or(d.finished = 0) then 'outbox_wait' else 'handler' end
    from infra.outbox_events e join infra.outbox_deliveries d using (event_id)
    where e.correlation_id = r.correlation_id and d.subscriber not like 'reporting.%'
      and coalesce(e.payload ->> 'call_id', e.payload ->> 'message_id') = r.trigger_id::text
  )) end`;

/**
 * Files the verdicts of `judged` (bucket, tenant_id, kept) under objective $1; in one order everywhere, so that replicas
 * wait for each other's rows instead of locking each other up.
 */
export const FILE_VERDICTS = `
  insert into reporting.slo_buckets (slo, bucket, tenant_id, good, bad)
  select $1::text, bucket, tenant_id, count(*) filter (where kept), count(*) filter (where not kept)
  from judged group by bucket, tenant_id order by bucket, tenant_id
  on conflict (slo, bucket, tenant_id) do update
    set good = reporting.slo_buckets.good + excluded.good, bad = reporting.slo_buckets.bad + excluded.bad`;

/**
 * Gives every call that is due its verdict on objective $1 (threshold $2 in seconds), once, and files it under the five
 * minutes of the missed call. Late is bad, and open beyond the threshold is bad, whatever comes later. Where $3 says so,
 * a bad call is told which stage ate its time. Answers the verdicts by stage; a good one has none.
 * Index: first_responses_unjudged.
 */
export const JUDGE = `
  with judged as (
    update reporting.first_responses r
    set unjudged = array_remove(unjudged, $1::text),
      bad_stage = case when not $3::boolean or r.first_sms_at - r.detected_at <= $2::float8 * interval '1 second'
        then r.bad_stage else ${STAGE_OF_R} end
    where unjudged <> '{}' and excluded_reason is null and $1::text = any (unjudged)
      and (first_sms_at is not null or detected_at < now() - $2::float8 * interval '1 second')
    returning tenant_id, date_bin('5 minutes', detected_at, 'epoch') as bucket, bad_stage,
      coalesce(first_sms_at - detected_at <= $2::float8 * interval '1 second', false) as kept
  ), filed as (${FILE_VERDICTS}
  )
  select kept, bad_stage, count(*)::int as calls from judged group by kept, bad_stage`;

/** Counts a call that no objective counts: tenant $2, reason $3, under the five minutes of its start $1. */
export const FILE_EXCLUSION = `
  insert into reporting.slo_exclusions (bucket, tenant_id, reason, calls)
  values (date_bin('5 minutes', $1::timestamptz, 'epoch'), $2, $3, 1)
  on conflict (bucket, tenant_id, reason) do update set calls = reporting.slo_exclusions.calls + 1`;

/** Good and bad of objective $1 over each of the windows $2 (minutes), to the resolution of a bucket. */
export const COUNT_WINDOWS = `
  select w.minutes, coalesce(sum(b.good), 0)::float8 as good, coalesce(sum(b.bad), 0)::float8 as bad
  from unnest($2::int[]) as w (minutes)
  left join reporting.slo_buckets b
    on b.slo = $1 and b.bucket > now() - (w.minutes + 5) * interval '1 minute'
  group by w.minutes`;

/**
 * The first-SMS objective over the last $1 minutes, censored: an open call counts at its present age.
 * What the tracker has not been told yet is read from its own undelivered and dead deliveries, so that a stuck outbox
 * cannot hide waiting callers. Open calls younger than $2 seconds are undecided and wait.
 * `now()` bounds the window, because no index serves a comparison with the volatile `clock_timestamp()`.
 * Indexes: first_responses_window, outbox_deliveries_first_response.
 */
export const FIRST_SMS_WINDOW = `
  with untold as (
    select e.event_name, e.payload, e.occurred_at
    from (
      select event_id from infra.outbox_deliveries where subscriber = 'reporting.first_response'
      union all
      select event_id from infra.outbox_dead_letters where subscriber = 'reporting.first_response'
    ) pending join infra.outbox_events e using (event_id)
  ), opened as (
    select trigger_id, detected_at, first_sms_at from reporting.first_responses
    where detected_at > now() - $1::int * interval '1 minute' and excluded_reason is null
    union all
    select trigger_id, detected_at, null from (
      select coalesce(payload ->> 'call_id', payload ->> 'message_id')::uuid as trigger_id,
        coalesce(payload ->> 'missed_at', payload ->> 'received_at')::timestamptz as detected_at
      from untold
      where event_name in ('nmc.telephony.CallDetected', 'nmc.telephony.InboundSmsReceived')
        and payload ->> 'decision' = 'reply'
    ) unseen
    where detected_at > now() - $1::int * interval '1 minute'
      and not exists (select 1 from reporting.first_responses told where told.trigger_id = unseen.trigger_id)
  ), closed as (
    select (payload ->> 'trigger_id')::uuid as trigger_id, (payload ->> 'accepted_at')::timestamptz as accepted_at
    from untold where event_name = 'nmc.telephony.OutboundSmsQueued'
  ), aged as (
    select coalesce(o.first_sms_at, c.accepted_at) is null as open,
      extract(epoch from coalesce(o.first_sms_at, c.accepted_at, clock_timestamp()) - o.detected_at)::float8 as seconds
    from opened o left join closed c using (trigger_id)
  )
  select
    percentile_disc(0.95) within group (order by seconds) filter (where not open or seconds >= $2) as p95_seconds,
    count(*) filter (where not open or seconds >= $2)::int as window_calls,
    count(*) filter (where open and seconds >= $2)::int as open_breached
  from aged`;

/**
 * Age of the oldest event due to reporting and not taken in. Dead letters are not lag: their alert is another.
 * Index: outbox_deliveries_available; the table is small by design.
 */
export const PROJECTOR_LAG = `
  select coalesce(extract(epoch from clock_timestamp() - min(due_at)), 0)::float8 as lag_seconds
  from infra.outbox_deliveries where subscriber like 'reporting.%' and due_at <= now()`;

/**
 * Events of one trigger come through one lane, but a redriven dead letter may come late: each statement creates the row
 * or completes it, whichever was missing, and none undoes another.
 */
export const TRACK_TRIGGER = `
  insert into reporting.first_responses (trigger_id, tenant_id, correlation_id, trigger_kind, detected_at, excluded_reason)
  values ($1, $2, $3, $4, $5, $6)
  on conflict (trigger_id) do update
    set detected_at = excluded.detected_at, excluded_reason = excluded.excluded_reason, trigger_kind = excluded.trigger_kind`;

export const TRACK_ACCEPTED = `
  insert into reporting.first_responses (trigger_id, tenant_id, correlation_id, trigger_kind, detected_at, first_sms_at,
    message_sid, webhook_ms, outbox_wait_ms, handler_ms, provider_ms)
  values ($1, $2, $3, 'call', $4, $4, $5, $6, $7, $8, $9)
  on conflict (trigger_id) do update
    set first_sms_at = coalesce(reporting.first_responses.first_sms_at, excluded.first_sms_at),
      message_sid = coalesce(reporting.first_responses.message_sid, excluded.message_sid), failed_reason = null,
      webhook_ms = excluded.webhook_ms, outbox_wait_ms = excluded.outbox_wait_ms, handler_ms = excluded.handler_ms,
      provider_ms = excluded.provider_ms
  returning extract(epoch from first_sms_at - detected_at)::float8 * 1000 as latency_ms, excluded_reason`;

/**
 * A text that will not come: a person who opted out meanwhile leaves the objective, unless it has judged already;
 * everything else stays in it. Answers a row where a call was taken out just now.
 */
export const TRACK_FAILED = `
  with failed as (
    update reporting.first_responses r
    set failed_reason = $2,
      excluded_reason = case when $2 = 'opted_out' and 'first_sms' = any (r.unjudged) then $2 else r.excluded_reason end
    from reporting.first_responses before
    where r.trigger_id = $1 and r.first_sms_at is null and before.trigger_id = r.trigger_id
    returning before.excluded_reason as was, r.excluded_reason as now, r.detected_at, r.tenant_id
  )
  select tenant_id, detected_at from failed where was is null and now is not null`;

/** Index: first_responses_correlation. */
export const FIRST_RESPONSE = `
  select trigger_kind, correlation_id, detected_at, first_sms_at, excluded_reason, failed_reason,
    extract(epoch from first_sms_at - detected_at)::float8 * 1000 as latency_ms,
    webhook_ms, outbox_wait_ms, handler_ms, provider_ms, bad_stage
  from reporting.first_responses where correlation_id = $1
  order by detected_at limit 1`;

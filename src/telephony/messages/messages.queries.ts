/** Records the intent to send; a repeat of it answers nothing. $13 is the time since the handler began, in ms. */
export const REQUEST_MESSAGE = `
  insert into telephony.messages (message_id, tenant_id, direction, purpose, dedup_key, trigger_id, correlation_id, caller,
    business_number, messaging_service_sid, account_sid, body, segments, state, triggered_at, trigger_recorded_at,
    handler_started_at)
  values ($1, $2, 'outbound', $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, 'requested', $14, $15,
    clock_timestamp() - $13::float8 * interval '1 millisecond')
  on conflict (tenant_id, dedup_key) do nothing
  returning message_id`;

export const MESSAGE_BY_KEY = 'select message_id from telephony.messages where tenant_id = $1 and dedup_key = $2';

/** An inbound text. $9 is the time already spent in the request, in ms. */
export const STORE_INBOUND = `
  insert into telephony.messages (message_id, tenant_id, direction, purpose, dedup_key, trigger_id, correlation_id, caller,
    business_number, account_sid, body, segments, state, message_sid, triggered_at, trigger_recorded_at, handler_started_at)
  select $1::uuid, $2, 'inbound', 'inbound', $3, $1::uuid, $4, $5, $6, $7, $8, $10, 'received', $11, at, at, at
  from (select clock_timestamp() - $9::float8 * interval '1 millisecond' as at) clock
  returning triggered_at`;

/** The latest text between the two, and whether its journey is still going on: within a day. Index: messages_caller. */
export const LATEST_JOURNEY = `
  select correlation_id, created_at > now() - interval '1 day' as recent from telephony.messages
  where tenant_id = $1 and caller = $2
  order by created_at desc limit 1`;

const MESSAGE_COLUMNS = `message_id, tenant_id, purpose, trigger_id, correlation_id, caller, business_number, messaging_service_sid,
  account_sid, body, state, error_code, message_sid, attempt, accepted_at,
  extract(epoch from clock_timestamp() - triggered_at)::float8 * 1000 as age_ms`;

export const MESSAGE = `select ${MESSAGE_COLUMNS} from telephony.messages where message_id = $1`;

export const LOCK_MESSAGE = `${MESSAGE} for update`;

/** Of account $2, found by the provider's sid $1 or by our id $3 from the callback's own URL; locked. */
export const LOCK_MESSAGE_OF_CALLBACK = `
  select ${MESSAGE_COLUMNS} from telephony.messages
  where direction = 'outbound' and account_sid = $2 and (message_sid = $1 or message_id = $3::uuid)
  order by (message_sid = $1) desc nulls last limit 1
  for update`;

/**
 * The marker before the socket is touched: from here on the message may be with the provider.
 * Parameters: 1 message, 2 the attempt this one follows, 3 whether it is a resend after an ambiguous outcome.
 */
export const MARK_SUBMITTING = `
  with marked as (
    update telephony.messages
    set state = 'submitting', attempt = attempt + 1, submitted_at = coalesce(submitted_at, clock_timestamp()),
      error_code = null, resends = resends + $3::boolean::int
    where message_id = $1 and attempt = $2 and state in ('requested', 'unknown', 'failed')
    returning message_id, attempt
  )
  insert into telephony.send_attempts (message_id, attempt, resend)
  select message_id, attempt, $3::boolean from marked
  returning attempt`;

/** What became of a request; one that is known to have brought a text stays so. $6: its sid. */
export const FINISH_ATTEMPT = `
  update telephony.send_attempts
  set outcome = case when message_sid is not null and $6::text is null then outcome else $3 end,
    http_status = coalesce($4, http_status), error_code = coalesce($5, error_code),
    message_sid = coalesce($6, message_sid), finished_at = coalesce(finished_at, clock_timestamp())
  where message_id = $1 and attempt = $2`;

/** The requests that may have brought a text nobody has told us of, oldest first, with their ages. */
export const OPEN_ATTEMPTS = `
  select attempt, extract(epoch from clock_timestamp() - started_at)::float8 * 1000 as age_ms
  from telephony.send_attempts where message_id = $1 and outcome in ('submitting', 'ambiguous')
  order by attempt`;

/** Sids among $1 that are known to belong to other messages or attempts than $2. Index: messages_sid, send_attempts_sid. */
export const SIDS_OF_OTHERS = `
  select message_sid from telephony.messages where message_sid = any ($1) and message_id <> $2
  union
  select message_sid from telephony.send_attempts where message_sid = any ($1) and message_id <> $2`;

/** $5: how long ago the acceptance became known, in ms. The first acceptance stays. */
export const SET_ACCEPTED = `
  update telephony.messages
  set state = $2, message_sid = coalesce(message_sid, $3), error_code = coalesce($4, error_code),
    accepted_at = coalesce(accepted_at, clock_timestamp() - $5::float8 * interval '1 millisecond')
  where message_id = $1
  returning message_sid, accepted_at,
    extract(epoch from trigger_recorded_at - triggered_at)::float8 * 1000 as webhook_ms,
    extract(epoch from handler_started_at - trigger_recorded_at)::float8 * 1000 as outbox_wait_ms,
    extract(epoch from submitted_at - handler_started_at)::float8 * 1000 as handler_ms,
    extract(epoch from accepted_at - submitted_at)::float8 * 1000 as provider_ms`;

export const SET_STATE = `
  update telephony.messages set state = $2, error_code = coalesce($3, error_code) where message_id = $1`;

/** Serialises whoever learns of a sid with whoever parks a callback for it. Always taken before the message's row. */
export const LOCK_SID = `select pg_advisory_xact_lock(hashtextextended($1, 0))`;

/** Keeps a callback for a sid that nobody knows yet; of a text that is known ($1, or by our id $4), another account ($5) says nothing. */
export const PARK_CALLBACK = `
  insert into telephony.parked_callbacks (account_sid, message_sid, status, error_code)
  select $5, $1, $2, $3::int where not exists (
    select 1 from telephony.messages where direction = 'outbound' and (message_sid = $1 or message_id = $4::uuid))
  on conflict (account_sid, message_sid, status) do nothing`;

export const UNPARK_CALLBACKS = `
  delete from telephony.parked_callbacks where message_sid = $1 and account_sid = $2 returning status, error_code`;

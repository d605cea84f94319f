/**
 * The call of ($2 tenant, $3 CallSid), seen now or before, and locked: webhooks of one call take turns.
 * Parameters: 1 call_id, 2 tenant, 3 CallSid, 4 caller, 5 called number, 6 forwarded from, 7 correlation, 8 dialed.
 */
export const LOCK_CALL = `
  insert into telephony.calls (call_id, tenant_id, call_sid, caller, called_number, forwarded_from, correlation_id, dialed)
  values ($1, $2, $3, $4, $5, $6, $7, $8)
  on conflict (tenant_id, call_sid) do update set dialed = telephony.calls.dialed or excluded.dialed
  returning call_id, caller, called_number, forwarded_from, correlation_id, dialed, answered_at, decision`;

export const MARK_ANSWERED = 'update telephony.calls set answered_at = clock_timestamp() where call_id = $1';

/** The decision, once. $5 is the time already spent in the request, in ms: the promise starts at its receipt. */
export const DECIDE_CALL = `
  update telephony.calls
  set decision = $2, reason = $3, deferred_until = $4, decided_at = clock_timestamp(),
      missed_at = clock_timestamp() - $5::float8 * interval '1 millisecond'
  where call_id = $1 and decision is null
  returning missed_at`;

/**
 * Wins the right to send a first reply to this caller ($1 tenant, $2 caller, $3 trigger) for $4 minutes, or nothing.
 * The window starts with the text: now, or when a deferred one is due ($5). The row's lock makes two calls at the same
 * moment take turns.
 */
export const OPEN_REPLY_WINDOW = `
  insert into telephony.reply_windows (tenant_id, caller, trigger_id, opened_at)
  values ($1, $2, $3, coalesce($5::timestamptz, clock_timestamp()))
  on conflict (tenant_id, caller) do update
    set trigger_id = excluded.trigger_id, opened_at = coalesce($5::timestamptz, clock_timestamp())
    where telephony.reply_windows.opened_at < clock_timestamp() - $4::int * interval '1 minute'
  returning trigger_id`;

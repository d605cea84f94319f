/** Remembers a webhook, unless it is known; a concurrent twin waits here for the first one's commit. */
export const CLAIM_WEBHOOK = `
  insert into telephony.webhook_events (provider, dedupe_key, endpoint, correlation_id, parameters)
  values ('twilio', $1, $2, $3, $4)
  on conflict (provider, dedupe_key) do nothing
  returning dedupe_key`;

export const WEBHOOK_ANSWER = `
  select answer, correlation_id, tenant_id from telephony.webhook_events where provider = 'twilio' and dedupe_key = $1`;

export const FINISH_WEBHOOK = `
  update telephony.webhook_events set tenant_id = $2, answer = $3, correlation_id = $4
  where provider = 'twilio' and dedupe_key = $1`;

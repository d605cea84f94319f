/** The thread of ($2 tenant, $3 caller), new or known. `xmax` is 0 for a row that was inserted just now. */
export const OPEN_THREAD = `
  insert into conversation.threads (thread_id, tenant_id, caller, business_number) values ($1, $2, $3, $4)
  on conflict (tenant_id, caller) do update set last_activity_at = now(), business_number = excluded.business_number
  returning thread_id, (xmax = 0) as is_new`;

export const RAISE_URGENCY = `
  update conversation.threads set urgency = urgency + 1, last_activity_at = now() where thread_id = $1`;

export const TEMPLATE = 'select template from conversation.first_reply_templates where tenant_id = $1';

export const SET_TEMPLATE = `
  insert into conversation.first_reply_templates (tenant_id, template) values ($1, $2)
  on conflict (tenant_id) do update set template = excluded.template, updated_at = now()`;

export const CLEAR_TEMPLATE = 'delete from conversation.first_reply_templates where tenant_id = $1';

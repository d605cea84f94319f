/** Whether $2 may be texted by tenant $1. Index: consent_ledger_contact. */
export const PERMISSION = `
  select
    coalesce((select kind = 'opt_out' from compliance.consent_ledger
      where tenant_id = $1 and phone = $2 and kind in ('opt_out', 'opt_in')
      order by entry_id desc limit 1), false) as opted_out,
    coalesce((select a2p_status = 'approved' from compliance.registrations where tenant_id = $1), false) as registered`;

/** The entry that rules the consent of $2 towards tenant $1. Index: consent_ledger_contact. */
export const LATEST_CONSENT = `
  select kind from compliance.consent_ledger
  where tenant_id = $1 and phone = $2 and kind in ('opt_out', 'opt_in')
  order by entry_id desc limit 1`;

export const RECORD_CONSENT = `
  insert into compliance.consent_ledger (tenant_id, phone, kind, basis, evidence_id, correlation_id)
  values ($1, $2, $3, $4, $5, $6)
  on conflict (tenant_id, phone, evidence_id, kind) do nothing`;

export const SET_REGISTRATION = `
  insert into compliance.registrations (tenant_id, a2p_status) values ($1, $2)
  on conflict (tenant_id) do update set a2p_status = excluded.a2p_status, updated_at = now()`;

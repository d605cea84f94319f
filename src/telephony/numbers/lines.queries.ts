/**
 * The tenant of number $1, if account $2 may speak for it: the tenant's own subaccount where it has one,
 * else the platform's ($3).
 */
export const LINE_OF_NUMBER = `
  select line.tenant_id
  from telephony.numbers number join telephony.lines line using (tenant_id)
  where number.phone = $1
    and case when line.twilio_account_sid is null then $3::boolean else line.twilio_account_sid = $2 end`;

/** Index: numbers_tenant. */
export const NUMBERS_OF_TENANT = 'select phone from telephony.numbers where tenant_id = $1 order by position';

export const REMOVE_OTHER_NUMBERS = 'delete from telephony.numbers where tenant_id = $1 and not (phone = any ($2))';

/** Answers the numbers that are this tenant's now; one that is missing belongs to another. */
export const ADD_NUMBERS = `
  insert into telephony.numbers (tenant_id, phone, position)
  select $1, phone, position from unnest($2::text[]) with ordinality as given (phone, position)
  on conflict (phone) do update set position = excluded.position
    where telephony.numbers.tenant_id = excluded.tenant_id
  returning phone, tenant_id`;

/** Whether $1 is a number of any tenant. */
export const IS_PLATFORM_NUMBER = 'select exists (select 1 from telephony.numbers where phone = $1) as known';

/** The subaccount $1 and its sealed token. */
export const TWILIO_ACCOUNT = 'select twilio_auth_token from telephony.lines where twilio_account_sid = $1';

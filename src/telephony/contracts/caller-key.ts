import { hash } from 'node:crypto';

/** The ordering key of everything between one business and one caller; tells nothing of the number. */
export function callerKey(tenantId: string, caller: string): string {
  return hash('sha256', `${tenantId}|${caller}`).slice(0, 24);
}

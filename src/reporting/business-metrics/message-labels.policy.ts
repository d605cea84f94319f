import {
  FAILURE_CODES,
  type FailureCode,
  MESSAGE_STATUSES,
  type MessageStatus,
} from '../../common/metrics/catalogue.js';

/** States that mean the person did not get the text. */
const LOST: readonly string[] = ['failed', 'undelivered', 'canceled'] satisfies MessageStatus[];

/** Providers add words without notice; one we do not know is `other`. */
export function messageStatus(state: string): MessageStatus {
  return MESSAGE_STATUSES.find((known) => known === state) ?? 'other';
}

/** A code we do not know is `other`, a failure that came without one is `none`. */
export function failureCode(code: number | null): FailureCode {
  if (code === null) return 'none';
  return FAILURE_CODES.find((known) => known === String(code)) ?? 'other';
}

/** Whether a delivery state is the end of a text that nobody read. */
export function isLost(state: string): boolean {
  return LOST.includes(state);
}

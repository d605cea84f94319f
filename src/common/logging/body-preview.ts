import type { RedactionKind, Redactor } from './redactor.js';

/** How much of a body a preview shows, in code points. */
export const PREVIEW_CODE_POINTS = 50;

/**
 * In what somebody wrote, anything of seven digits or more counts as a number, whatever separates them: a preview has no
 * use for ids and times, and "ring 5550132" is all that some people write.
 */
const DIGITS = /\p{Nd}(?:[^\p{L}\p{N},;]{0,3}\p{Nd}){6,}/gu;

/**
 * The beginning of a message body for the log. The whole body is redacted before it is cut: half a number is no longer
 * recognised as one.
 *
 * @param report is told of each value that this net finds beyond those that `redactor` masks and reports itself
 */
export function previewBody(body: string, redactor: Redactor, report: (kind: RedactionKind) => void): string {
  const masked = body.replace(DIGITS, (number) => {
    report('phone');
    return `***${(number.match(/\p{Nd}/gu) ?? []).slice(-4).join('')}`;
  });
  // Addresses, credentials, and numbers that are written in escapes.
  const redacted = String(redactor.redactValue(masked, 'phone'));
  return Array.from(redacted).slice(0, PREVIEW_CODE_POINTS).join('');
}

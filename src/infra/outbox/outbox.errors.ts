import { AppError } from '../../common/errors/app-error.js';

/**
 * Thrown by a handler that is not finished and not at fault: run again after `delayMs`, and burn no attempt.
 * For waiting on purpose, such as reconciling an ambiguous call or a provider that is down.
 */
export class Snooze extends Error {
  constructor(
    readonly delayMs: number,
    readonly reason: string,
  ) {
    super(`snoozed for ${delayMs} ms: ${reason}`);
    this.name = 'Snooze';
  }
}

/** Thrown by a handler when no further run can succeed: straight to the dead letters. */
export class PermanentFailure extends AppError {
  constructor(code: string, message: string, cause?: unknown) {
    super({ code, message, status: 500, retry: 'permanent', cause });
    this.name = 'PermanentFailure';
  }
}

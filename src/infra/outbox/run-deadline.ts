import { AppError } from '../../common/errors/app-error.js';

/** What a handler has, once its signal says stop, before it is given up. */
const GIVE_UP_AFTER_MS = 1_000;

/**
 * Ends one run: tells the handler through its signal, and gives it up when it goes on all the same. Most runs neither
 * look at their signal nor need it: it is made when somebody asks for it.
 */
export class RunDeadline {
  private readonly timer: NodeJS.Timeout;
  private patience: NodeJS.Timeout | undefined;
  private controller: AbortController | undefined;
  private ended: { reason: unknown } | undefined;
  private giveUp: (() => void) | undefined;

  /** @param what is said to have exceeded it */
  constructor(what: string, timeoutMs: number) {
    this.timer = setTimeout(() => {
      const message = `${what} exceeded ${timeoutMs} ms`;
      this.abort(new AppError({ code: 'outbox.deadline', status: 504, message }));
    }, timeoutMs);
  }

  get signal(): AbortSignal {
    this.controller ??= new AbortController();
    if (this.ended && !this.controller.signal.aborted) this.controller.abort(this.ended.reason);
    return this.controller.signal;
  }

  /** Why the run was told to stop; undefined when it was not. */
  get abortedFor(): unknown {
    return this.ended?.reason;
  }

  abort(reason: unknown): void {
    if (this.ended) return;
    this.ended = { reason };
    this.controller?.abort(reason);
    this.patience = setTimeout(() => this.giveUp?.(), GIVE_UP_AFTER_MS);
  }

  /** Settles as `work` does, or with the reason of the abort if that takes too long after it. */
  limit<T>(work: Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      this.giveUp = () => reject(this.abortedFor);
      work.then(resolve, reject);
    });
  }

  clear(): void {
    clearTimeout(this.timer);
    clearTimeout(this.patience);
  }
}

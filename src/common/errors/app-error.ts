/**
 * What the caller of failed work should do: never again, again, again after a while, or again without holding it
 * against the work, because what failed is what everybody stands on.
 */
export type Retry = 'permanent' | 'retryable' | 'unblamed' | { afterMs: number };

export interface AppErrorOptions {
  /** Stable dotted code, e.g. `tenancy.number_taken`; part of the public contract. */
  code: string;
  /** HTTP status of the problem response. */
  status: number;
  /** Safe to show to a stranger: names and rules, never values. */
  message: string;
  logLevel?: 'debug' | 'info' | 'warn' | 'error';
  retry?: Retry;
  /** Extra members of the RFC 9457 problem document. */
  details?: Record<string, unknown>;
  cause?: unknown;
}

/**
 * An error that says itself what it is called, how loud it is and what a retry means.
 * One filter turns it into an RFC 9457 problem; the outbox reads `retry`.
 */
export class AppError extends Error {
  readonly code: string;
  readonly status: number;
  readonly logLevel: 'debug' | 'info' | 'warn' | 'error';
  readonly retry: Retry;
  readonly details: Record<string, unknown>;

  constructor(options: AppErrorOptions) {
    super(options.message, { cause: options.cause });
    this.name = 'AppError';
    this.code = options.code;
    this.status = options.status;
    this.logLevel = options.logLevel ?? (options.status >= 500 ? 'error' : 'warn');
    this.retry = options.retry ?? (options.status >= 500 ? 'retryable' : 'permanent');
    this.details = options.details ?? {};
  }
}

/** The stable code of any thrown value: ours, a Node or Postgres code, else the class name. */
export function errorCode(error: unknown): string {
  if (error instanceof AppError) return error.code;
  if (error && typeof error === 'object') {
    const { code, name } = error as { code?: unknown; name?: unknown };
    if (typeof code === 'string' && code !== '') return code;
    if (typeof name === 'string' && name !== '') return name;
  }
  return 'unknown';
}

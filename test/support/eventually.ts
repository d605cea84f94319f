/** How long to keep trying, and what is being waited for (it names the failure). */
export interface EventuallyOptions {
  deadlineMs?: number;
  label: string;
}

const PAUSE_MS = 20;

/**
 * Calls `fn` until it neither throws nor returns `false` or `null`, and returns what it returned.
 * At the deadline it fails with the label and the last failure as its cause.
 * `fn` receives a signal that is aborted at the deadline, so that a call that hangs can be cut off.
 */
export async function eventually<T>(
  fn: (signal: AbortSignal) => T | Promise<T>,
  { deadlineMs = 20_000, label }: EventuallyOptions,
): Promise<Exclude<T, false | null>> {
  const abort = new AbortController();
  let lastFailure: unknown;
  let timer: NodeJS.Timeout | undefined;
  const expired = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => {
      const detail = lastFailure instanceof Error ? `; last: ${lastFailure.message}` : '';
      reject(new Error(`${label}: not so within ${deadlineMs} ms${detail}`, { cause: lastFailure }));
      abort.abort();
    }, deadlineMs);
  });

  async function attempt(): Promise<Exclude<T, false | null>> {
    for (;;) {
      try {
        const value = await fn(abort.signal);
        if (value !== false && value !== null) return value as Exclude<T, false | null>;
        lastFailure = undefined;
      } catch (error) {
        lastFailure = error;
      }
      if (abort.signal.aborted) return await expired;
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
    }
  }

  try {
    return await Promise.race([attempt(), expired]);
  } finally {
    clearTimeout(timer);
    abort.abort();
  }
}

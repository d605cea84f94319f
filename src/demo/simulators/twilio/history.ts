interface Waiter<T> {
  readonly matches: (item: T) => boolean;
  readonly settle: (outcome: { item: T } | { error: Error }) => void;
}

/** How long a wait lasts, in milliseconds, unless told otherwise. */
export const DEFAULT_DEADLINE_MS = 5_000;

/**
 * An append-only record that can be awaited: tests wait for what happens instead of sleeping.
 *
 * Every wait has a deadline, and every open wait is refused when the history closes.
 */
export class History<T> {
  readonly items: T[] = [];
  private readonly waiters = new Set<Waiter<T>>();
  private readonly listeners = new Set<(item: T) => void>();
  private closed = false;

  append(item: T): void {
    this.items.push(item);
    for (const waiter of this.waiters) {
      if (waiter.matches(item)) waiter.settle({ item });
    }
    for (const listener of this.listeners) listener(item);
  }

  /** Calls back for every later item; returns the function that unsubscribes. */
  onAppend(listener: (item: T) => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  /**
   * Resolves with the first match, which may already be recorded.
   *
   * @param what Names the awaited thing in the error of a missed deadline.
   * @param from Index of the first item that counts; the present length means "from now on".
   */
  waitFor(what: string, matches: (item: T) => boolean, deadlineMs = DEFAULT_DEADLINE_MS, from = 0): Promise<T> {
    const found = this.items.slice(from).find(matches);
    if (found !== undefined) return Promise.resolve(found);
    if (this.closed) return Promise.reject(new Error(`Stopped before ${what}`));
    const promise = new Promise<T>((resolve, reject) => {
      const waiter: Waiter<T> = {
        matches,
        settle: (outcome) => {
          clearTimeout(timer);
          this.waiters.delete(waiter);
          if ('item' in outcome) resolve(outcome.item);
          else reject(outcome.error);
        },
      };
      const timer = setTimeout(
        () => waiter.settle({ error: new Error(`No ${what} within ${deadlineMs} ms`) }),
        deadlineMs,
      );
      timer.unref();
      this.waiters.add(waiter);
    });
    // A wait that its test abandoned must not end the process.
    promise.catch(() => undefined);
    return promise;
  }

  close(): void {
    this.closed = true;
    for (const waiter of this.waiters) waiter.settle({ error: new Error('The simulator was stopped') });
    this.listeners.clear();
  }
}

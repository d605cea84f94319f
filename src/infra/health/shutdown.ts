/** How long a stop may take before the process ends regardless; longer than the dispatcher's own grace. */
const STOP_DEADLINE_MS = 25_000;

type End = () => Promise<void> | void;

/**
 * The end of a process: what was started is ended, the latest first, once, whoever asks for it and when. A signal in
 * the middle of the start counts as well: the step under way is finished, and ended with the others.
 */
export class Shutdown {
  private readonly ends: End[] = [];
  private stepUnderWay: Promise<unknown> = Promise.resolve();
  private ending: Promise<void> | undefined;

  /** Whether the end has begun; what fails from now on fails because of it. */
  get begun(): boolean {
    return this.ending !== undefined;
  }

  /**
   * Ends the process with `exitCode` at one of these signals. A repeated one changes nothing: on Ctrl-C npm sends on
   * what the terminal has sent to the whole group already.
   */
  onSignal(exitCode: number, signals: readonly NodeJS.Signals[] = ['SIGINT', 'SIGTERM']): void {
    for (const signal of signals) process.on(signal, () => void this.exit(exitCode));
  }

  /** Takes one step of the start and remembers how to end it. Once the end has begun, the start gets no further. */
  async start<T>(begin: () => Promise<T>, end: (started: T) => Promise<void> | void): Promise<T> {
    if (this.begun) return neverAgain();
    const step = begin().then((started) => {
      this.ends.unshift(() => end(started));
      return started;
    });
    this.stepUnderWay = step.catch(() => undefined);
    const started = await step;
    return this.begun ? neverAgain() : started;
  }

  /** Ends everything, then the process. */
  async exit(exitCode: number): Promise<void> {
    if (this.begun) return;
    setTimeout(() => process.exit(1), STOP_DEADLINE_MS).unref();
    await this.end();
    process.exit(exitCode);
  }

  private end(): Promise<void> {
    this.ending ??= (async () => {
      await this.stepUnderWay;
      for (const end of this.ends) {
        // One that fails must not keep the others from ending.
        await Promise.resolve()
          .then(end)
          .catch((error: unknown) => process.stderr.write(`while stopping: ${String(error)}\n`));
      }
    })();
    return this.ending;
  }
}

/** The process is about to end: nothing that waits for this continues. */
function neverAgain(): Promise<never> {
  return new Promise(() => undefined);
}

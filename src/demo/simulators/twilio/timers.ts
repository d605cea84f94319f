/** Pauses that end early, answering `false`, when the simulator stops. None keeps the process alive. */
export class Timers {
  private readonly open = new Set<(elapsed: boolean) => void>();
  private stopped = false;

  wait(ms: number): Promise<boolean> {
    if (this.stopped) return Promise.resolve(false);
    if (ms <= 0) return Promise.resolve(true);
    return new Promise((resolve) => {
      const finish = (elapsed: boolean) => {
        clearTimeout(timer);
        this.open.delete(finish);
        resolve(elapsed);
      };
      const timer = setTimeout(() => finish(true), ms);
      timer.unref();
      this.open.add(finish);
    });
  }

  stop(): void {
    this.stopped = true;
    for (const finish of this.open) finish(false);
  }
}

/** Counts what is under way, so that its end can be waited for. Of the work itself it keeps nothing. */
export class UnderWay {
  private count = 0;
  private onNone: (() => void) | undefined;

  get isAny(): boolean {
    return this.count > 0;
  }

  add(work: Promise<unknown>): void {
    this.begin();
    void work.finally(() => this.end());
  }

  /** For work that says itself when it is over (`end`): to wait for its promise costs three more. */
  begin(): void {
    this.count++;
  }

  end(): void {
    if (--this.count === 0) this.onNone?.();
  }

  /**
   * Waits until nothing is under way any more, what is added meanwhile included, at most `deadlineMs`.
   * @returns whether everything ended; what did not goes on by itself
   */
  async ended(deadlineMs: number): Promise<boolean> {
    if (!this.isAny) return true;
    return new Promise((resolve) => {
      const late = setTimeout(() => resolve(false), deadlineMs);
      this.onNone = () => {
        clearTimeout(late);
        resolve(true);
      };
    });
  }
}

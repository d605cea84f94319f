/** Work that reads much, as often as is asked for it, but one at a time and never for more than a share of the time. */
export class DutyCycle {
  private dueFrom = 0;

  /** @param share of the time that the work may take, from 0 to 1 */
  constructor(private readonly share: number) {}

  get isDue(): boolean {
    return performance.now() >= this.dueFrom;
  }

  async run<T>(work: () => Promise<T>): Promise<T> {
    const startedAt = performance.now();
    this.dueFrom = Number.POSITIVE_INFINITY;
    try {
      return await work();
    } finally {
      const endedAt = performance.now();
      this.dueFrom = endedAt + (endedAt - startedAt) * (1 / this.share - 1);
    }
  }
}

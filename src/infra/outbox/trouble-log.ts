import type { PinoLogger } from 'nestjs-pino';

/** One line when something begins to fail and one when it works again, however often it is tried in between. */
export class TroubleLog {
  private readonly failing = new Set<string>();

  constructor(private readonly logger: PinoLogger) {}

  failed(what: string, error: unknown): void {
    if (this.failing.has(what)) return;
    this.failing.add(what);
    this.logger.warn({ err: error }, `outbox ${what} fails`);
  }

  worked(what: string): void {
    if (this.failing.delete(what)) this.logger.info(`outbox ${what} works again`);
  }

  /** Runs `work`, and turns its failure into at most a line. */
  async watch(what: string, work: () => Promise<void> | void): Promise<void> {
    try {
      await work();
      this.worked(what);
    } catch (error) {
      this.failed(what, error);
    }
  }
}

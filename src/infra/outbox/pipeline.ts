import type pg from 'pg';

interface Borrowed {
  client: Promise<pg.PoolClient>;
  statements: number;
  failure?: Error;
}

/**
 * Statements on one connection of a pool, each sent without waiting for the answers to those before it; the server works
 * them off one after the other. Given back when none is under way. The pool's connections have to be in pipeline mode.
 */
export class Pipeline {
  private borrowed: Borrowed | undefined;

  constructor(private readonly pool: pg.Pool) {}

  async query<Row extends unknown[]>(statement: pg.QueryArrayConfig): Promise<pg.QueryArrayResult<Row>> {
    this.borrowed ??= { client: this.pool.connect(), statements: 0 };
    const { borrowed } = this;
    borrowed.statements++;
    try {
      const client = await borrowed.client;
      return await client.query<Row>(statement);
    } catch (error) {
      borrowed.failure = error as Error;
      this.leave(borrowed);
      throw error;
    } finally {
      if (--borrowed.statements === 0) {
        this.leave(borrowed);
        void borrowed.client.then((client) => client.release(borrowed.failure)).catch(() => {});
      }
    }
  }

  private leave(borrowed: Borrowed): void {
    if (this.borrowed === borrowed) this.borrowed = undefined;
  }
}

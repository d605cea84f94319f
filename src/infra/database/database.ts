import { Injectable } from '@nestjs/common';
import { InjectDataSource } from '@nestjs/typeorm';
import { DataSource, type EntityManager } from 'typeorm';

/** A running transaction: SQL in it, and what should happen once it is durable. */
export interface Transaction {
  /** For entities. */
  readonly manager: EntityManager;
  /** For SQL that deserves to be read as SQL. */
  query<Row>(sql: string, parameters?: readonly unknown[]): Promise<Row[]>;
  /** Runs after the commit succeeded, and not at all after a rollback. Must not throw. */
  afterCommit(action: () => void): void;
}

/** The door to Postgres for contexts: a transaction, or a single statement on the pool. */
@Injectable()
export class Database {
  constructor(@InjectDataSource() private readonly dataSource: DataSource) {}

  /** One transaction; a throw rolls back. An error of the commit itself means that its outcome is unknown. */
  async transaction<T>(work: (tx: Transaction) => Promise<T>): Promise<T> {
    const actions: (() => void)[] = [];
    const result = await this.dataSource.transaction((manager) =>
      work({
        manager,
        query: (sql, parameters) => run(manager, sql, parameters),
        afterCommit: (action) => actions.push(action),
      }),
    );
    for (const action of actions) action();
    return result;
  }

  /** One statement, in a transaction of its own. */
  query<Row>(sql: string, parameters?: readonly unknown[]): Promise<Row[]> {
    return run(this.dataSource.manager, sql, parameters);
  }
}

async function run<Row>(manager: EntityManager, sql: string, parameters: readonly unknown[] = []): Promise<Row[]> {
  const result: unknown = await manager.query(sql, [...parameters]);
  // TypeORM answers [rows, count] to UPDATE and DELETE, and rows to everything else.
  if (Array.isArray(result) && result.length === 2 && Array.isArray(result[0]) && typeof result[1] === 'number') {
    return result[0] as Row[];
  }
  return result as Row[];
}

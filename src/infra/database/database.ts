import { Injectable } from '@nestjs/common';
import { InjectDataSource } from '@nestjs/typeorm';
import { SpanKind } from '@opentelemetry/api';
import type pg from 'pg';
import {
  DataSource,
  type EntityManager,
  QueryFailedError,
  type QueryRunner,
  QueryRunnerAlreadyReleasedError,
} from 'typeorm';
import { inSpan, isTraced } from '../../common/tracing/spans.js';
import { Config } from '../config/config.js';
import { poolOf } from './data-source.js';
import { asDatabaseError } from './database.errors.js';

/**
 * Sends one statement and answers its rows.
 * @param name parsed and planned once a connection and name, unless a pooler is in between; for the few statements of the
 * hot path
 */
export type Query = <Row>(sql: string, parameters?: readonly unknown[], name?: string) => Promise<Row[]>;

/** A running transaction: SQL in it, and what should happen at its end. */
export interface Transaction {
  /** For entities. */
  readonly manager: EntityManager;
  /** For SQL that deserves to be read as SQL. */
  readonly query: Query;
  /**
   * Called when the work is done, to send one statement, which goes out together with the COMMIT, in one round trip; its
   * failure fails the transaction.
   */
  beforeCommit(send: (query: Query) => Promise<void>): void;
  /**
   * Called by what is sent before the commit: `send` sends one statement right behind the COMMIT, in the same packet but a
   * transaction of its own. Nobody waits for it, and its failure is nobody's; it goes out even if the commit then fails.
   */
  behindCommit(send: (query: Query) => Promise<unknown>): void;
  /** Runs after the commit succeeded, and not at all after a rollback. Must not throw. */
  afterCommit(action: () => void): void;
}

/** The door to Postgres for contexts: a transaction, or a single statement on the pool. */
@Injectable()
export class Database {
  constructor(
    @InjectDataSource() private readonly dataSource: DataSource,
    private readonly config: Config,
  ) {}

  /**
   * One transaction; a throw rolls back. An error of the commit itself means that its outcome is unknown.
   * @throws DatabaseAway when the server did not answer
   */
  async transaction<T>(work: (tx: Transaction) => Promise<T>): Promise<T> {
    const client = await this.connect().catch(refuse);
    const transaction = new PipelinedTransaction(client, this.dataSource, !this.config.isPooled);
    // The connection goes back before what comes after the commit, which may want one at once.
    const result = await transaction.run(work).finally(() => transaction.leave());
    transaction.conclude();
    return result;
  }

  private connect(): Promise<pg.PoolClient> {
    const pool = poolOf(this.dataSource);
    return isTraced() ? inSpan('pg-pool.connect', { kind: SpanKind.CLIENT }, () => pool.connect()) : pool.connect();
  }

  /** One statement, in a transaction of its own. */
  async query<Row>(sql: string, parameters: readonly unknown[] = []): Promise<Row[]> {
    const result: unknown = await this.dataSource.manager.query(sql, [...parameters]).catch(refuse);
    // TypeORM answers [rows, count] to UPDATE and DELETE, and rows to everything else.
    if (Array.isArray(result) && result.length === 2 && Array.isArray(result[0]) && typeof result[1] === 'number') {
      return result[0] as Row[];
    }
    return result as Row[];
  }
}

function refuse(error: unknown): never {
  throw asDatabaseError(error);
}

/**
 * BEGIN travels with the first statement and COMMIT with the last ones: the connection is in pipeline mode. A statement
 * that is the only one is a transaction by itself, and work that sends none needs none.
 */
class PipelinedTransaction implements Transaction {
  private readonly sends: ((query: Query) => Promise<void>)[] = [];
  private readonly followers: ((query: Query) => Promise<unknown>)[] = [];
  /** Statements behind the commit, whose connection is still theirs. */
  private readonly trailing: Promise<unknown>[] = [];
  private readonly afterwards: (() => void)[] = [];
  private begun: Promise<unknown> | undefined;
  private runner: QueryRunner | undefined;

  constructor(
    private readonly client: pg.PoolClient,
    private readonly dataSource: DataSource,
    /** Whether the session is there for longer than the transaction, and with it what was prepared. */
    private readonly keepsSession: boolean,
  ) {}

  get manager(): EntityManager {
    this.begin();
    this.runner ??= runnerOn(this.client, this.dataSource);
    return this.runner.manager;
  }

  readonly query: Query = (sql, parameters, name) =>
    this.inOnePacket(() => {
      this.begin();
      return this.send(sql, parameters, name);
    });

  beforeCommit(send: (query: Query) => Promise<void>): void {
    this.sends.push(send);
  }

  behindCommit(send: (query: Query) => Promise<unknown>): void {
    this.followers.push(send);
  }

  afterCommit(action: () => void): void {
    this.afterwards.push(action);
  }

  async run<T>(work: (tx: Transaction) => Promise<T>): Promise<T> {
    try {
      const result = await work(this);
      await (this.begun || this.sends.length > 1 ? this.commit() : this.sendOnly());
      return result;
    } catch (error) {
      if (this.begun) await this.client.query('rollback').catch(() => {});
      const isOfEntities = error instanceof QueryFailedError || error instanceof QueryRunnerAlreadyReleasedError;
      throw isOfEntities ? asDatabaseError(error) : error;
    }
  }

  /** Does what was to be done after the commit. */
  conclude(): void {
    for (const action of this.afterwards) action();
  }

  /** Gives the connection back as soon as nothing of ours is on it. */
  leave(): void {
    void this.runner?.release();
    if (this.trailing.length === 0) this.client.release();
    else void Promise.all(this.trailing).then(() => this.client.release());
  }

  private begin(): void {
    if (this.begun) return;
    this.begun = this.client.query('begin').catch(refuse);
    this.begun.catch(() => {});
  }

  private async commit(): Promise<void> {
    const [sent, committed] = this.inOnePacket(() => {
      const sent = this.sends.map((send) => send(this.query));
      const committed = this.client.query('commit').catch(refuse);
      this.follow();
      return [sent, committed];
    });
    // All of them, or a second failure would be nobody's.
    const outcomes = await Promise.allSettled([this.begun, ...sent, committed]);
    const failure = outcomes.find((outcome) => outcome.status === 'rejected');
    if (failure) throw failure.reason;
    // Postgres answers the commit of a failed transaction with a rollback, and no error.
    if ((await committed).command !== 'COMMIT') throw new Error('the transaction had failed and was rolled back');
  }

  /** The only statement, which is a transaction by itself. */
  private sendOnly(): Promise<void> | undefined {
    return this.inOnePacket(() => {
      const sent = this.sends[0]?.(this.once());
      this.follow();
      return sent;
    });
  }

  private follow(): void {
    for (const send of this.followers) this.trailing.push(send(this.send).catch(() => {}));
  }

  private inOnePacket<T>(send: () => T): T {
    const { stream } = (this.client as pg.Client).connection;
    stream.cork();
    try {
      return send();
    } finally {
      stream.uncork();
    }
  }

  /** For one statement outside of BEGIN and COMMIT. */
  private once(): Query {
    let isSent = false;
    return (sql, parameters, name) => {
      if (isSent) throw new Error('what is sent before the commit is one statement each');
      isSent = true;
      return this.send(sql, parameters, name);
    };
  }

  private readonly send: Query = async (sql, parameters = [], name) =>
    (
      await this.client
        .query({ text: sql, values: [...parameters], ...(name && this.keepsSession && { name }) })
        .catch(refuse)
    ).rows;
}

/** The library neither takes a connection of others nor can be told of a transaction that it did not begin. */
function runnerOn(client: pg.PoolClient, dataSource: DataSource): QueryRunner {
  const runner = dataSource.createQueryRunner();
  // Without the second, `save` would begin and commit by itself.
  return Object.assign(runner, { databaseConnection: client, isTransactionActive: true });
}

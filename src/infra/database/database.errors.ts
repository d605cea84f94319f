import pg from 'pg';
import { AppError } from '../../common/errors/app-error.js';

/** Connections refused or broken (08), no more of them to be had (53), the server going down or coming up (57P). */
const AWAY = /^(08|53|57P)/;

/** The database could not be asked, or was gone before it answered: what was asked for may or may not have happened. */
export class DatabaseAway extends AppError {
  constructor(cause: unknown) {
    const message = 'The database cannot be reached';
    super({ code: 'database.away', status: 503, message, retry: 'unblamed', cause });
    this.name = 'DatabaseAway';
  }
}

/** What a failed statement is thrown as: itself when the server has answered, else `DatabaseAway`. */
export function asDatabaseError(error: unknown): unknown {
  const cause = (error as { driverError?: unknown } | undefined)?.driverError ?? error;
  const isAnswer = cause instanceof pg.DatabaseError && !AWAY.test(cause.code ?? '');
  return isAnswer ? error : new DatabaseAway(error);
}

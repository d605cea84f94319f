import { Injectable } from '@nestjs/common';
import { PinoLogger } from 'nestjs-pino';
import type { Transaction } from '../database/database.js';

export interface AuditEntry {
  /** Who: the user of the ops basic auth. */
  actor: string;
  action: 'dead_letters.retry' | 'dead_letters.discard';
  /** What it was done to. */
  subject: string;
  /** How, and with what result; free text in it must have been redacted. */
  facts: Record<string, unknown>;
  /** Ids of everything that was touched: kept, but too many for a log line. */
  ids: readonly string[];
}

/** Who did what by hand: an append-only row in the transaction of the deed, and one log line once it is durable. */
@Injectable()
export class AuditLog {
  constructor(private readonly logger: PinoLogger) {}

  async record(tx: Transaction, { actor, action, subject, facts, ids }: AuditEntry): Promise<void> {
    await tx.query('insert into infra.audit_log (actor, action, subject, detail) values ($1, $2, $3, $4)', [
      actor,
      action,
      subject,
      JSON.stringify({ ...facts, ids }),
    ]);
    tx.afterCommit(() => this.logger.info({ actor, action, subject, ...facts }, 'done by hand'));
  }
}

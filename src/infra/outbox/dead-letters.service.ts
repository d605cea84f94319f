import { Injectable } from '@nestjs/common';
import { redactText } from '../../common/logging/redactor.js';
import { AuditLog } from '../audit/audit-log.service.js';
import { Database, type Transaction } from '../database/database.js';
import {
  DECISION_LOCK,
  DISCARD,
  GROUPS,
  LIST,
  LOCK_DECISIONS,
  PICK_ALL,
  PICK_GROUP,
  PICK_NAMED,
  RETRY,
} from './dead-letters.queries.js';
import { Dispatcher } from './dispatcher.service.js';

/** One decision takes at most so many: it is one transaction, and deliveries are a small table. */
export const MAX_DECIDED_AT_ONCE = 10_000;

/** What narrows a list; what is left out matches everything. */
export interface DeadLetterFilter {
  subscriber?: string;
  fingerprint?: string;
  event_name?: string;
  reason?: string;
  tenant_id?: string;
}

export interface DeadLetter {
  delivery_id: string;
  event_id: string;
  event_name: string;
  subscriber: string;
  tenant_id: string;
  /** Null when the event is gone. */
  correlation_id: string | null;
  created_at: Date;
  died_at: Date;
  attempts: number;
  reason: string;
  error_code: string;
  fingerprint: string;
}

export interface DeadLetterGroup {
  subscriber: string;
  event_name: string;
  reason: string;
  fingerprint: string;
  count: number;
  oldest_died_at: Date;
  newest_died_at: Date;
}

/** The last one of a page: its time of death in microseconds, and its id. */
export type DeadLetterPosition = readonly [diedAtMicroseconds: string, deliveryId: string];
/** The last group of a page: subscriber, event name, reason, digest of the fingerprint. */
export type GroupPosition = readonly [string, string, string, string];

export interface Page<Item, Position> {
  items: Item[];
  /** Where the next page begins; undefined on the last one. */
  next: Position | undefined;
}

/** What an operator decides about. A group is a cause: its subscriber and its fingerprint, perhaps narrowed. */
export type DeadLetterScope =
  | { kind: 'deliveries'; ids: readonly string[] }
  | { kind: 'group'; group: DeadLetterFilter & { subscriber: string; fingerprint: string } }
  | { kind: 'all' };

export interface Decided {
  /** Named, and no dead letter: never one, or somebody else has decided about it. */
  not_found: number;
  /** In the scope as well, but beyond what one decision takes. */
  remaining: number;
}

export interface Retried extends Decided {
  retried: number;
  /** When the last of them is due; null when there was none. */
  last_due_at: Date | null;
}

export interface Discarded extends Decided {
  discarded: number;
}

/** Deliveries that gave up: to be looked at, and to be retried or discarded by a person. */
@Injectable()
export class DeadLetters {
  constructor(
    private readonly database: Database,
    private readonly dispatcher: Dispatcher,
    private readonly audit: AuditLog,
  ) {}

  /** Newest first. What is free text is redacted. */
  async list(
    filter: DeadLetterFilter,
    limit: number,
    after?: DeadLetterPosition,
  ): Promise<Page<DeadLetter, DeadLetterPosition>> {
    const parameters = [...parametersOf(filter), ...(after ?? [null, null]), limit + 1];
    const rows = await this.database.query<DeadLetter & { died_at_us: string }>(LIST, parameters);
    const items = rows.slice(0, limit);
    const last = rows.length > limit ? items.at(-1) : undefined;
    return {
      items: items.map(({ died_at_us: _, ...item }) => ({
        ...shown(item),
        error_code: redactText(item.error_code),
      })),
      next: last && [last.died_at_us, last.delivery_id],
    };
  }

  /** By subscriber, event, reason and fingerprint. What is free text is redacted. */
  async groups(
    filter: DeadLetterFilter,
    limit: number,
    after?: GroupPosition,
  ): Promise<Page<DeadLetterGroup, GroupPosition>> {
    const parameters = [...parametersOf(filter), ...(after ?? [null, null, null, null]), limit + 1];
    const rows = await this.database.query<DeadLetterGroup & { digest: string }>(GROUPS, parameters);
    const items = rows.slice(0, limit);
    const last = rows.length > limit ? items.at(-1) : undefined;
    return {
      items: items.map(({ digest: _, ...item }) => shown(item)),
      next: last && [last.subscriber, last.event_name, last.reason, last.digest],
    };
  }

  /**
   * Delivers again what is in the scope: as the same deliveries, with all their attempts, `ratePerSecond` of them a
   * second, each lane in its order. Until its turn a delivery is scheduled: it counts as neither lag nor depth.
   */
  retry(scope: DeadLetterScope, { actor, ratePerSecond }: { actor: string; ratePerSecond: number }): Promise<Retried> {
    return this.decide(scope, async (tx, ids, decided) => {
      const [row] = await tx.query<{ retried: number; last_due_at: Date | null }>(RETRY, [ids, ratePerSecond]);
      if (!row) throw new Error('the retry of dead letters answered nothing');
      tx.afterCommit(() => this.dispatcher.nudge());
      const result = { ...row, ...decided };
      const facts = { ...factsOf(scope), rate_per_second: ratePerSecond, ...result };
      await this.audit.record(tx, { actor, action: 'dead_letters.retry', subject: scope.kind, facts, ids });
      return result;
    });
  }

  /** Gives up for good what is in the scope: it leaves the list, and stays on record with who and why. */
  discard(scope: DeadLetterScope, { actor, why }: { actor: string; why: string }): Promise<Discarded> {
    return this.decide(scope, async (tx, ids, decided) => {
      const discardReason = redactText(why);
      const [row] = await tx.query<{ discarded: number }>(DISCARD, [ids, actor, discardReason]);
      if (!row) throw new Error('the discarding of dead letters answered nothing');
      const result = { ...row, ...decided };
      const facts = { ...factsOf(scope), discard_reason: discardReason, ...result };
      await this.audit.record(tx, { actor, action: 'dead_letters.discard', subject: scope.kind, facts, ids });
      return result;
    });
  }

  /** One at a time: what two decide at once is done once, and each is told the truth. */
  private decide<Result>(
    scope: DeadLetterScope,
    work: (tx: Transaction, ids: string[], decided: Decided) => Promise<Result>,
  ): Promise<Result> {
    return this.database.transaction(async (tx) => {
      await tx.query(LOCK_DECISIONS, [DECISION_LOCK]);
      const picked = await this.pick(tx, scope);
      const ids = picked.map(({ delivery_id }) => delivery_id);
      return work(tx, ids, {
        not_found: scope.kind === 'deliveries' ? scope.ids.length - ids.length : 0,
        remaining: (picked[0]?.matching ?? 0) - ids.length,
      });
    });
  }

  private pick(tx: Transaction, scope: DeadLetterScope): Promise<{ delivery_id: string; matching: number }[]> {
    switch (scope.kind) {
      case 'deliveries':
        return tx.query(PICK_NAMED, [scope.ids]);
      case 'group':
        return tx.query(PICK_GROUP, [...parametersOf(scope.group), MAX_DECIDED_AT_ONCE]);
      case 'all':
        return tx.query(PICK_ALL, [MAX_DECIDED_AT_ONCE]);
    }
  }
}

function parametersOf(filter: DeadLetterFilter): (string | null)[] {
  const { subscriber, fingerprint, event_name, reason, tenant_id } = filter;
  return [subscriber ?? null, fingerprint ?? null, event_name ?? null, reason ?? null, tenant_id ?? null];
}

/** As an operator may see it. */
function shown<Item extends { reason: string; fingerprint: string }>(item: Item): Item {
  return { ...item, reason: redactText(item.reason), fingerprint: redactText(item.fingerprint) };
}

/** The named ids are kept beside the facts. */
function factsOf(scope: DeadLetterScope): Record<string, unknown> {
  return scope.kind === 'group' ? { group: { ...scope.group, fingerprint: redactText(scope.group.fingerprint) } } : {};
}

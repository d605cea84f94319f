import type { Transaction } from '../database/database.js';

/**
 * Remembers, in the consumer's own transaction, that `subscriber` has handled an event. For effects without a natural
 * key of their own.
 * @returns false when it had been handled before: do nothing
 */
export async function consumeOnce(tx: Transaction, subscriber: string, eventId: string): Promise<boolean> {
  const rows = await tx.query(
    `insert into infra.consumed_events (subscriber, event_id) values ($1, $2) on conflict do nothing returning event_id`,
    [subscriber, eventId],
  );
  return rows.length > 0;
}

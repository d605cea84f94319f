import type { EventContract } from '../src/infra/outbox/event.js';

export function eventDocuments(
  contracts: readonly EventContract[],
  subscriptions: readonly { event: string; subscriber: string }[],
): Record<string, string>;

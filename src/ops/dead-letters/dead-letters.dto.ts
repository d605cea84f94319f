import { z } from 'zod';
import type { DeadLetterScope } from '../../infra/outbox/dead-letters.service.js';

const MAX_BIGINT = 9_223_372_036_854_775_807n;
const NAMED_AT_ONCE = 1_000;

/** Postgres keeps no zero bytes. */
const text = (max: number) =>
  z
    .string()
    .min(1)
    .max(max)
    .refine((value) => !value.includes('\0'), 'must not contain a zero byte');
const isDeliveryId = (id: string) => /^[1-9]\d{0,18}$/.test(id) && BigInt(id) <= MAX_BIGINT;
const deliveryId = z
  .string('must be a delivery id as text, e.g. "4711"')
  .refine(isDeliveryId, 'must be a delivery id, e.g. "4711"');

const filters = {
  subscriber: text(200).optional(),
  event_name: text(200).optional(),
  reason: text(200).optional(),
  fingerprint: text(500).optional(),
  tenant_id: z.uuid().optional(),
};

/** A cursor is what its page ended with, and nothing that a caller builds. */
const cursor = <Position extends z.ZodType>(position: Position) =>
  z
    .string()
    .max(4_000)
    .transform((value, context): z.output<Position> => {
      const parsed = position.safeParse(decoded(value));
      if (parsed.success) return parsed.data;
      context.addIssue({ code: 'custom', message: 'must be the next_cursor of an earlier page of this list' });
      return z.NEVER;
    })
    .optional();

const paging = {
  limit: z.coerce.number().int().min(1).max(200).default(50),
};

export const listQuery = z.strictObject({
  ...filters,
  ...paging,
  cursor: cursor(z.tuple([z.string().regex(/^\d{1,16}$/), deliveryId])),
});

export const groupsQuery = z.strictObject({
  ...filters,
  ...paging,
  group: z.literal('fingerprint', 'must be fingerprint'),
  cursor: cursor(z.tuple([text(200), text(200), text(200), z.string().regex(/^[0-9a-f]{32}$/)])),
});

export function encodeCursor(position: readonly string[] | undefined): string | null {
  return position ? Buffer.from(JSON.stringify(position)).toString('base64url') : null;
}

function decoded(value: string): unknown {
  try {
    return JSON.parse(Buffer.from(value, 'base64url').toString('utf8'));
  } catch {
    return undefined;
  }
}

/** Exactly one of the three: nothing is decided about all by leaving something out. */
const scope = {
  delivery_ids: z
    .array(deliveryId)
    .min(1)
    .max(NAMED_AT_ONCE)
    .refine((ids) => new Set(ids).size === ids.length, 'must not repeat an id')
    .optional(),
  group: z.strictObject({ ...filters, subscriber: text(200), fingerprint: text(500) }).optional(),
  all: z.literal(true, 'must be true, or left out').optional(),
};
interface ScopeFields {
  delivery_ids?: string[];
  group?: (DeadLetterScope & { kind: 'group' })['group'];
  all?: true;
}

const ONE_SCOPE = 'must have exactly one of delivery_ids, group and all';
const hasOneScope = ({ delivery_ids, group, all }: ScopeFields) =>
  [delivery_ids, group, all].filter((given) => given !== undefined).length === 1;

/** What a body that was found to have exactly one scope is about. */
export function scopeOf({ delivery_ids, group, all }: ScopeFields): DeadLetterScope {
  if (delivery_ids) return { kind: 'deliveries', ids: delivery_ids };
  if (group) return { kind: 'group', group };
  if (all) return { kind: 'all' };
  throw new Error('a decision about dead letters has no scope');
}

export const retryBody = z
  .strictObject({
    ...scope,
    /** Deliveries a second: the provider and the other tenants go on meanwhile. */
    rate_per_second: z.number().int().min(1).max(100).default(10),
  })
  .refine(hasOneScope, ONE_SCOPE);

export const discardBody = z
  .strictObject({
    ...scope,
    /** Why nobody needs them any more; kept with them. */
    reason: z.string().trim().pipe(text(1_000)),
  })
  .refine(hasOneScope, ONE_SCOPE);

import { AsyncLocalStorage } from 'node:async_hooks';
import { randomUUIDv7 } from 'node:crypto';

/** The closed list of the `module` log field. */
export const MODULES = [
  'telephony',
  'conversation',
  'scheduling',
  'catalog',
  'compliance',
  'billing',
  'reporting',
  'infra',
] as const;
export type ModuleName = (typeof MODULES)[number];

/**
 * What every log line, span and outbox row of one unit of work shares.
 * It lives in AsyncLocalStorage, so it is there in webhooks, outbox handlers and cron runs alike.
 */
export interface Context {
  /** One per caller's journey; born at the edge, carried by events; a later webhook of the journey adopts it. */
  correlationId: string;
  /** The event that caused this work; absent at the edge. */
  readonly causationId?: string;
  module: ModuleName;
  /** Known only after the tenant is resolved, hence writable. */
  tenantId?: string;
}

const storage = new AsyncLocalStorage<Context>();

/** The current unit of work, or undefined outside of any (boot, timers). */
export function currentContext(): Context | undefined {
  return storage.getStore();
}

/** The current correlation id; a fresh one where no unit of work is running, so that nothing is written without. */
export function currentCorrelationId(): string {
  return storage.getStore()?.correlationId ?? randomUUIDv7();
}

/** Runs `work` and everything it awaits in `context`. */
export function runInContext<T>(context: Context, work: () => T): T {
  return storage.run(context, work);
}

/** Records whose work this is, for the rest of the current unit of work. */
export function setTenant(tenantId: string): void {
  const context = storage.getStore();
  if (context) context.tenantId = tenantId;
}

/** Continues an earlier journey: what this unit of work does belongs to it from now on. */
export function adoptCorrelation(correlationId: string): void {
  const context = storage.getStore();
  if (context) context.correlationId = correlationId;
}

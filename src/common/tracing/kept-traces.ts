import { trace } from '@opentelemetry/api';
import { KEEP_ATTRIBUTE, type KeepReason, type TraceKeeper } from './trace-keeper.js';

interface Tracing {
  /** Undefined where traces are not exported. */
  keeper: TraceKeeper | undefined;
  flush: () => Promise<void>;
}

let tracing: Tracing | undefined;

/** Called by the preload, before anything else of ours runs. */
export function installTracing(installed: Tracing): void {
  tracing = installed;
}

/** The keeper of this process; undefined where traces are not exported. */
export function traceKeeper(): TraceKeeper | undefined {
  return tracing?.keeper;
}

/** Sends what is still buffered; the last thing a process does. */
export async function flushTraces(): Promise<void> {
  await tracing?.flush();
}

/** The running trace is worth keeping whole, although nothing failed. */
export function keepCurrentTrace(reason: KeepReason): void {
  trace.getActiveSpan()?.setAttribute(KEEP_ATTRIBUTE, reason);
}

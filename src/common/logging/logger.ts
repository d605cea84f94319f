import { hash } from 'node:crypto';
import { type DestinationStream, type Logger, type LoggerOptions, pino, stdTimeFunctions } from 'pino';
import { currentContext } from '../context/context.js';
import { AppError, errorCode } from '../errors/app-error.js';
import { metrics } from '../metrics/metrics.js';
import { createRedactor } from './redactor.js';

const redactor = createRedactor({ onRedaction: (kind) => metrics.increment('log_redactions_total', { kind }) });

export type AppLogger = Logger;

/**
 * The service's only logger: one JSON object a line, the specified fields, correlation from the current unit of work.
 * Two nets guard it: error and object serializers decide what may be shown at all, and the line net redacts the
 * finished line, so that message, bindings, error text and stack all pass it. If the net fails, the line is withheld.
 */
export function createLogger(options: { level: string }, destination?: DestinationStream): AppLogger {
  const withStacks = options.level === 'debug' || options.level === 'trace';
  const settings: LoggerOptions = {
    level: options.level,
    base: null,
    messageKey: 'message',
    timestamp: () => stdTimeFunctions.isoTime().replace('"time"', '"timestamp"'),
    formatters: { level: (label) => ({ level: label }), log: (fields) => errorFields(fields, withStacks) },
    mixin: contextFields,
    hooks: { streamWrite: guardLine },
  };
  return destination ? pino(settings, destination) : pino(settings);
}

function contextFields(): Record<string, unknown> {
  const context = currentContext();
  if (!context) return { module: 'infra', tenant_id: null, correlation_id: null };
  return {
    module: context.module,
    tenant_id: context.tenantId ?? null,
    correlation_id: context.correlationId,
    ...(context.causationId && { causation_id: context.causationId }),
  };
}

/** `err` becomes `error_code`, `error_message` and a hash that groups equal stacks; the stack itself is for DEBUG. */
function errorFields(fields: Record<string, unknown>, withStack: boolean): Record<string, unknown> {
  const { err, ...rest } = fields;
  if (!(err instanceof Error)) return fields;
  const frames = (err.stack ?? '').split('\n').filter((line) => line.startsWith('    at '));
  return {
    ...rest,
    error_code: errorCode(err),
    error_message: err.message,
    stack_hash: hash('sha256', frames.join('\n')).slice(0, 12),
    top_frame: frames[0]?.trim(),
    ...(withStack && { stack: err.stack }),
    ...(err instanceof AppError && err.cause instanceof Error && { error_cause: err.cause.message }),
  };
}

function guardLine(line: string): string {
  try {
    return redactor.redactLine(line);
  } catch {
    metrics.increment('log_lines_suppressed_total');
    return `{"level":"error","module":"infra","message":"log line suppressed: redactor failure"}\n`;
  }
}

import { hash } from 'node:crypto';
import { type DestinationStream, type Logger, type LoggerOptions, pino, stdTimeFunctions } from 'pino';
import { currentContext } from '../context/context.js';
import { AppError, errorCode } from '../errors/app-error.js';
import { metrics } from '../metrics/metrics.js';
import { traceFields } from '../tracing/spans.js';
import { previewBody } from './body-preview.js';
import { createRedactor, type RedactionKind } from './redactor.js';
import type { UnmaskedCopy } from './unmasked-copy.js';

const count = (kind: RedactionKind) => metrics.increment('log_redactions_total', { kind });
const redactor = createRedactor({ onRedaction: count });

export type AppLogger = Logger;

export interface AppLoggerOptions {
  level: string;
  /** Lets the first 50 code points of a `body_preview` through, redacted; without it the field is left out. */
  bodyPreview?: boolean;
  /** Where lines go as they were before the redactor, beside the masked ones. */
  unmasked?: UnmaskedCopy;
}

/**
 * The service's only logger: one JSON object a line, the specified fields, correlation from the current unit of work.
 * Two nets guard it: error and object serializers decide what may be shown at all, and the line net redacts the
 * finished line, so that message, bindings, error text and stack all pass it. If the net fails, the line is withheld.
 */
export function createLogger(options: AppLoggerOptions, destination?: DestinationStream): AppLogger {
  const withStacks = options.level === 'debug' || options.level === 'trace';
  const { bodyPreview = false, unmasked } = options;
  const settings: LoggerOptions = {
    level: options.level,
    base: null,
    messageKey: 'message',
    timestamp: () => stdTimeFunctions.isoTime().replace('"time"', '"timestamp"'),
    formatters: {
      level: (label) => ({ level: label }),
      log: (fields) => errorFields(bodyField(fields, bodyPreview), withStacks),
    },
    mixin: contextFields,
    hooks: {
      streamWrite: (line) => {
        unmasked?.write(line);
        return guardLine(line);
      },
    },
  };
  return destination ? pino(settings, destination) : pino(settings);
}

function contextFields(): Record<string, unknown> {
  const context = currentContext();
  if (!context) return { module: 'infra', tenant_id: null, correlation_id: null, ...traceFields() };
  return {
    module: context.module,
    tenant_id: context.tenantId ?? null,
    correlation_id: context.correlationId,
    ...(context.causationId && { causation_id: context.causationId }),
    ...traceFields(),
  };
}

/** A body is given as it is, in `body_preview`; whether and how it is shown is decided here and nowhere else. */
function bodyField(fields: Record<string, unknown>, shown: boolean): Record<string, unknown> {
  if (!('body_preview' in fields)) return fields;
  const { body_preview: body, ...rest } = fields;
  return shown && typeof body === 'string' ? { ...rest, body_preview: previewBody(body, redactor, count) } : rest;
}

/** `err` becomes `error_code`, `error_message` and a hash that groups equal stacks; the stack itself is for DEBUG. */
function errorFields(fields: Record<string, unknown>, withStack: boolean): Record<string, unknown> {
  if (!('err' in fields)) return fields;
  const { err: thrown, ...rest } = fields;
  // Whatever was thrown that is no error has no stack worth keeping, but might have a field called so.
  const err = thrown instanceof Error ? thrown : Object.assign(new Error(String(thrown)), { stack: '' });
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

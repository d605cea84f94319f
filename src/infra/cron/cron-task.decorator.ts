import { applyDecorators, SetMetadata } from '@nestjs/common';
import { Cron } from '@nestjs/schedule';
import { v7 as uuidv7 } from 'uuid';
import { MODULES, runInContext } from '../../common/context/context.js';
import { wrapMethod } from '../../common/decorators/wrap-method.js';
import { inSpan } from '../../common/tracing/spans.js';

export interface CronTaskOptions {
  /** `<module>.<task>`; the name of the span and of the registered job. */
  name: `${string}.${string}`;
  /** Cron expression with seconds. */
  every: string;
}

/** Marks a method as scheduled, so that a test can find those that the scheduler does not know. */
export const CRON_TASK = Symbol('cron:task');

/**
 * A scheduled method, in one word: its own unit of work and span inside, Nest's `@Cron` outside, in the order that
 * keeps the job registered. Runs of one task never overlap: a run still under way makes the next one wait its turn.
 * A failure is logged by the scheduler and marks the span.
 */
export function CronTask(options: CronTaskOptions): MethodDecorator {
  const module = MODULES.find((name) => options.name.startsWith(`${name}.`)) ?? 'infra';
  return applyDecorators(
    SetMetadata(CRON_TASK, options),
    Cron(options.every, { name: options.name, waitForCompletion: true }),
    wrapMethod((original, self, args) =>
      runInContext({ correlationId: uuidv7(), module }, () =>
        inSpan(`cron.${options.name}`, {}, () => original.apply(self, args)),
      ),
    ),
  );
}

import { randomUUIDv7 } from 'node:crypto';
import { applyDecorators, Logger, SetMetadata } from '@nestjs/common';
import { Cron } from '@nestjs/schedule';
import { MODULES, runInContext } from '../../common/context/context.js';
import { wrapMethod } from '../../common/decorators/wrap-method.js';
import { inSpan } from '../../common/tracing/spans.js';

export interface CronTaskOptions {
  /** `<module>.<task>`; the name of the span and of the registered job. */
  name: `${string}.${string}`;
  /** Cron expression with seconds. */
  every: string;
}

/** The scheduler's own would log outside of the unit of work; a decorator has no other way to the application's. */
const logger = new Logger('CronTask');

/** Marks a method as scheduled, so that a test can find those that the scheduler does not know. */
export const CRON_TASK = Symbol('cron:task');

/**
 * A scheduled method, in one word: its own unit of work and span inside, Nest's `@Cron` outside, in the order that
 * keeps the job registered. Runs of one task never overlap: a run still under way makes the next one wait its turn.
 * A failure marks the span; there is nobody to throw it at, and the next run is the retry. The first of a row of failures
 * is logged within its unit of work, so that the line says which task of which run it was, and so is the success that ends
 * it.
 */
export function CronTask(options: CronTaskOptions): MethodDecorator {
  const failing = new WeakSet<object>();
  const module = MODULES.find((name) => options.name.startsWith(`${name}.`)) ?? 'infra';
  return applyDecorators(
    SetMetadata(CRON_TASK, options),
    Cron(options.every, { name: options.name, waitForCompletion: true }),
    wrapMethod((original, self, args) =>
      runInContext({ correlationId: randomUUIDv7(), module }, async () => {
        const [task, owner] = [options.name, self as object];
        try {
          await inSpan(`cron.${task}`, {}, () => original.apply(self, args));
          if (failing.delete(owner)) logger.log({ task, message: 'scheduled task works again' });
        } catch (err) {
          if (!failing.has(owner)) logger.error({ err, task, message: 'scheduled task fails' });
          failing.add(owner);
        }
      }),
    ),
  );
}

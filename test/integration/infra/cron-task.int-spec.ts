import { type LoggerService, Module, SetMetadata } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { ScheduleModule, SchedulerRegistry } from '@nestjs/schedule';
import { type Context, currentContext } from '../../../src/common/context/context.js';
import { Observed } from '../../../src/common/decorators/observed.decorator.js';
import { metrics } from '../../../src/common/metrics/metrics.js';
import { CRON_TASK, CronTask } from '../../../src/infra/cron/cron-task.decorator.js';
import { eventually } from '../../support/eventually.js';

const seen: (Context | undefined)[] = [];

/** What a wrapper must not be: it forgets what the decorators below have written on the method. */
const Careless: MethodDecorator = (_target, _key, descriptor: PropertyDescriptor) => {
  const original = descriptor.value;
  descriptor.value = function careless(this: unknown) {
    return original.call(this);
  };
};

class TaskCron {
  @CronTask({ name: 'reporting.plain', every: '* * * * * *' })
  run(): void {
    seen.push(currentContext());
  }

  @Observed('scheduling_search_duration_ms')
  @SetMetadata('above', true)
  @CronTask({ name: 'infra.wrapped', every: '* * * * * *' })
  async fail(): Promise<void> {
    throw new Error('the task failed');
  }

  @Careless
  @CronTask({ name: 'infra.lost', every: '* * * * * *' })
  lost(): void {}
}

@Module({ imports: [ScheduleModule.forRoot()], providers: [TaskCron] })
class TaskModule {}

describe('a scheduled task', () => {
  const errors: { line: unknown; context: Context | undefined }[] = [];
  const ignore = () => undefined;
  const logger: LoggerService = {
    log: ignore,
    warn: ignore,
    error: (line: unknown) => void errors.push({ line, context: currentContext() }),
  };
  let app: Awaited<ReturnType<typeof NestFactory.createApplicationContext>>;
  beforeAll(async () => {
    app = await NestFactory.createApplicationContext(TaskModule, { logger });
    await app.init();
  });
  afterAll(() => app.close());

  it('is registered under its name, also below another decorator that keeps metadata', () => {
    const jobs = app.get(SchedulerRegistry).getCronJobs();
    expect([...jobs.keys()].sort()).toEqual(['infra.wrapped', 'reporting.plain']);
    for (const job of jobs.values()) expect(job.isActive).toBe(true);
  });

  it('is lost below one that does not: what the check of the running app looks for', () => {
    expect(Reflect.getMetadata(CRON_TASK, TaskCron.prototype.lost)).toBeUndefined();
    expect(Reflect.getMetadata(CRON_TASK, TaskCron.prototype.fail)).toMatchObject({ name: 'infra.wrapped' });
  });

  it('runs as a unit of work of its own each time, under the module of its name', async () => {
    await eventually(() => seen.length >= 2, { label: 'it ran twice', deadlineMs: 30_000 });
    expect(seen[0]).toMatchObject({ module: 'reporting', correlationId: expect.any(String) });
    expect(seen[1]?.correlationId).not.toBe(seen[0]?.correlationId);
  });

  it('that fails is logged as what it is part of, measured, and run again', async () => {
    await eventually(() => errors.length >= 2, { label: 'it failed twice', deadlineMs: 30_000 });
    expect(errors[0]).toMatchObject({
      line: { err: { message: 'the task failed' }, task: 'infra.wrapped', message: 'scheduled task failed' },
      context: { module: 'infra', correlationId: expect.any(String) },
    });
    expect(errors[1]?.context?.correlationId).not.toBe(errors[0]?.context?.correlationId);
    const measured = await metrics.registry.getSingleMetricAsString('scheduling_search_duration_ms');
    expect(Number(/_count (\d+)/.exec(measured)?.[1])).toBeGreaterThanOrEqual(2);
  });
});

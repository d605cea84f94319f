import { type LoggerService, Module, SetMetadata } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { ScheduleModule, SchedulerRegistry } from '@nestjs/schedule';
import { type Context, currentContext } from '../../../src/common/context/context.js';
import { Observed } from '../../../src/common/decorators/observed.decorator.js';
import { metrics } from '../../../src/common/metrics/metrics.js';
import { CRON_TASK, CronTask } from '../../../src/infra/cron/cron-task.decorator.js';
import { eventually } from '../../support/eventually.js';

const seen: (Context | undefined)[] = [];
const TASK = { task: 'infra.wrapped' };
let failing = true;

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
    if (failing) throw new Error('the task failed');
  }

  @Careless
  @CronTask({ name: 'infra.lost', every: '* * * * * *' })
  lost(): void {}
}

@Module({ imports: [ScheduleModule.forRoot()], providers: [TaskCron] })
class TaskModule {}

describe('a scheduled task', () => {
  const lines: { level: string; line: unknown; context: Context | undefined }[] = [];
  const note = (level: string) => (line: unknown) => {
    if ((line as typeof TASK).task) lines.push({ level, line, context: currentContext() });
  };
  const logger: LoggerService = { log: note('log'), warn: note('warn'), error: note('error') };
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

  it('that fails is run again and measured, and logged as what it is part of: once, and when it works again', async () => {
    const runs = async () => {
      const measured = await metrics.registry.getSingleMetricAsString('scheduling_search_duration_ms');
      return Number(/_count (\d+)/.exec(measured)?.[1] ?? 0);
    };
    await eventually(async () => (await runs()) >= 3, { label: 'it failed three times', deadlineMs: 30_000 });
    failing = false;
    await eventually(() => lines.length >= 2, { label: 'it is said to work again', deadlineMs: 30_000 });
    const again = (await runs()) + 1;
    await eventually(async () => (await runs()) >= again, { label: 'it works once more', deadlineMs: 30_000 });
    const context = { module: 'infra', correlationId: expect.any(String) };
    expect(lines).toMatchObject([
      {
        level: 'error',
        line: { err: { message: 'the task failed' }, ...TASK, message: 'scheduled task fails' },
        context,
      },
      { level: 'log', line: { ...TASK, message: 'scheduled task works again' }, context },
    ]);
    expect(lines[1]?.context?.correlationId).not.toBe(lines[0]?.context?.correlationId);
  });
});

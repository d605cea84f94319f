import 'reflect-metadata';
import { SetMetadata } from '@nestjs/common';
import type { HistogramName } from '../metrics/catalogue.js';
import { metrics } from '../metrics/metrics.js';
import { Observed } from './observed.decorator.js';

/** How many were recorded, and their sum in ms. */
async function recorded(name: HistogramName, labels: Record<string, string> = {}) {
  const values = (await metrics.registry.getSingleMetric(name)?.get())?.values as unknown as {
    metricName: string;
    labels: Record<string, string>;
    value: number;
  }[];
  const find = (suffix: string) =>
    values.find(
      (one) =>
        one.metricName === `${name}_${suffix}` &&
        Object.entries(labels).every(([key, value]) => one.labels[key] === value),
    )?.value ?? 0;
  return { count: find('count'), sum: find('sum') };
}

const labels = { provider: 'ai', endpoint: 'chat.complete' } as const;
let labelled: typeof labels | undefined;

class Steps {
  factor = 2;

  @Observed('scheduling_search_duration_ms')
  double(n: number): number {
    if (n < 0) throw new Error('negative');
    return this.factor * n;
  }

  @Observed('scheduling_book_duration_ms')
  @SetMetadata('inner', 1)
  async fail(): Promise<void> {
    throw new Error('failed inside');
  }

  @Observed('ai_pipeline_duration_ms')
  follow<T>(work: PromiseLike<T>): PromiseLike<T> {
    return work;
  }

  @Observed('integration_http_latency_ms', () => labelled)
  ask(): string {
    return 'answer';
  }

  @Observed('integration_http_latency_ms', { provider: 'google', endpoint: 'events.list' })
  list(): string[] {
    return [];
  }
}

const steps = new Steps();

describe('@Observed', () => {
  it('records a call and leaves its receiver, arguments, result and kind alone', async () => {
    expect(steps.double(21)).toBe(42);
    expect((await recorded('scheduling_search_duration_ms')).count).toBe(1);
  });

  it('records a failure, thrown or rejected, and passes it on', async () => {
    const before = await recorded('scheduling_search_duration_ms');
    expect(() => steps.double(-1)).toThrow('negative');
    expect((await recorded('scheduling_search_duration_ms')).count).toBe(before.count + 1);
    await expect(steps.fail()).rejects.toThrow('failed inside');
    expect((await recorded('scheduling_book_duration_ms')).count).toBe(1);
  });

  it('keeps the metadata and the name of the method', () => {
    expect(Reflect.getMetadata('inner', Steps.prototype.fail)).toBe(1);
    expect(Steps.prototype.fail.name).toBe('fail');
  });

  it.each([
    ['a promise', <T>(promise: Promise<T>): PromiseLike<T> => promise],
    // biome-ignore lint/suspicious/noThenProperty: what a driver's lazy query looks like
    ['anything thenable', <T>(promise: Promise<T>): PromiseLike<T> => ({ then: promise.then.bind(promise) })],
  ])('times a method that is not async and answers %s to its end', async (_what, wrap) => {
    const before = await recorded('ai_pipeline_duration_ms');
    const work = Promise.withResolvers<string>();
    const result = steps.follow(wrap(work.promise));
    const returnedAt = performance.now();
    expect((await recorded('ai_pipeline_duration_ms')).count).toBe(before.count);
    const heldMs = performance.now() - returnedAt;
    work.resolve('done');
    expect(await result).toBe('done');
    const after = await recorded('ai_pipeline_duration_ms');
    expect(after.count).toBe(before.count + 1);
    expect(after.sum - before.sum).toBeGreaterThanOrEqual(heldMs);
  });

  it('takes labels that are fixed, or found at the call; without any there is nothing to record', async () => {
    steps.list();
    expect((await recorded('integration_http_latency_ms', { provider: 'google' })).count).toBe(1);
    expect(steps.ask()).toBe('answer');
    expect((await recorded('integration_http_latency_ms', labels)).count).toBe(0);
    labelled = labels;
    steps.ask();
    expect((await recorded('integration_http_latency_ms', labels)).count).toBe(1);
  });
});

// What must not compile: `npm run typecheck` fails when one of these lines does.
void [
  // @ts-expect-error there is no such metric
  Observed('scheduling_dance_duration_ms'),
  // @ts-expect-error a counter is no duration
  Observed('scheduling_hold_success_total'),
  // @ts-expect-error neither is a gauge, even one of milliseconds
  Observed('nmc_scrape_duration_ms'),
  // @ts-expect-error its labels are missing
  Observed('integration_http_latency_ms'),
  // @ts-expect-error not one of the providers
  Observed('integration_http_latency_ms', { provider: 'acme', endpoint: 'chat.complete' }),
  // @ts-expect-error this one has no labels
  Observed('ai_pipeline_duration_ms', { tenant: 'joe' }),
];

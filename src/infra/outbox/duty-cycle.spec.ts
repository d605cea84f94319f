import { setTimeout as pause } from 'node:timers/promises';
import { DutyCycle } from './duty-cycle.js';

/** A short piece of work, and how long after its end it was due again. */
async function restAfter(work: () => Promise<unknown>): Promise<number> {
  const cycle = new DutyCycle(0.2);
  expect(cycle.isDue).toBe(true);
  await cycle.run(work).catch(() => undefined);
  const endedAt = performance.now();
  while (!cycle.isDue) await pause(1);
  return performance.now() - endedAt;
}

it('rests after its work for as long as its share demands', async () => {
  expect(await restAfter(() => pause(20))).toBeGreaterThan(70);
});

it('rests after work that failed, too, and passes its error on', async () => {
  const failing = async () => {
    await pause(20);
    throw new Error('not now');
  };
  expect(await restAfter(failing)).toBeGreaterThan(70);
  await expect(new DutyCycle(1).run(failing)).rejects.toThrow('not now');
});

it('is not due while it is at work', async () => {
  const cycle = new DutyCycle(0.2);
  const work = cycle.run(() => pause(5));
  expect(cycle.isDue).toBe(false);
  await work;
});

import { allowance, cpuPercent, memoryPercent } from './process-usage.policy.js';

const GIB = 1024 ** 3;
const host = { cores: 8, memoryBytes: 32 * GIB };

describe('the allowance of a process', () => {
  it.each([
    ['half a processor', '50000 100000\n', 0.5],
    ['two processors', '200000 100000', 2],
    ['no quota', 'max 100000\n', 8],
    ['no cgroup', undefined, 8],
    ['an empty file', '', 8],
    ['a quota of nothing', '0 100000', 8],
    ['no period', '50000', 8],
  ])('reads %s', (_name, cpuMax, cores) => {
    expect(allowance({ cpuMax, memoryBytes: 0 }, host).cores).toBe(cores);
  });

  it.each([
    ['a limit', GIB, GIB],
    ['no limit', 0, 32 * GIB],
    ['the unlimited of cgroup v1', 2 ** 63, 32 * GIB],
  ])('takes the memory of %s', (_name, memoryBytes, expected) => {
    expect(allowance({ cpuMax: undefined, memoryBytes }, host).memoryBytes).toBe(expected);
  });
});

describe('cpuPercent', () => {
  const before = { usedMicros: 3_000_000, atMs: 1_000 };

  it('is the time used of the time allowed since the last reading', () => {
    const now = { usedMicros: 3_500_000, atMs: 2_000 };
    expect(cpuPercent(before, now, 1)).toBe(50);
    expect(cpuPercent(before, now, 0.5)).toBe(100);
    expect(cpuPercent(before, now, 4)).toBe(12.5);
  });

  it('says nothing about no time', () => {
    expect(cpuPercent(before, before, 1)).toBeUndefined();
  });
});

it('memoryPercent is the share that is resident', () => {
  expect(memoryPercent(GIB / 4, GIB)).toBe(25);
});

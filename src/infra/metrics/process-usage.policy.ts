/** What the machine allows a process, whether a cgroup says so or only the hardware. */
export interface Allowance {
  /** Processors, fractions included. */
  cores: number;
  memoryBytes: number;
}

/** A reading of how much processor time was used up to a moment. */
export interface CpuReading {
  /** User and system time since the process started. */
  usedMicros: number;
  /** On a clock that only goes forward. */
  atMs: number;
}

/**
 * The allowance of a process. A cgroup's quota in the form of `cpu.max` (cgroup v2): microseconds of processor time
 * in each period, or `max`; anything else is no limit.
 * @param cgroup memoryBytes: 0 where there is no limit; more than the host has is no limit either
 */
export function allowance(cgroup: { cpuMax: string | undefined; memoryBytes: number }, host: Allowance): Allowance {
  const [quota, period] = (cgroup.cpuMax ?? '').trim().split(/\s+/).map(Number);
  const cores = quota && period && quota > 0 && period > 0 ? quota / period : host.cores;
  const isLimited = cgroup.memoryBytes > 0 && cgroup.memoryBytes < host.memoryBytes;
  return { cores, memoryBytes: isLimited ? cgroup.memoryBytes : host.memoryBytes };
}

/** 0 to 100, a little over where the kernel grants a burst; undefined when no time has passed. */
export function cpuPercent(before: CpuReading, now: CpuReading, cores: number): number | undefined {
  const elapsedMs = now.atMs - before.atMs;
  if (elapsedMs <= 0) return undefined;
  return ((now.usedMicros - before.usedMicros) / 1000 / elapsedMs / cores) * 100;
}

export function memoryPercent(residentBytes: number, allowed: number): number {
  return (residentBytes / allowed) * 100;
}

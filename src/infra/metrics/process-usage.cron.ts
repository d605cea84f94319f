import { readFileSync } from 'node:fs';
import { availableParallelism, totalmem } from 'node:os';
import { Injectable } from '@nestjs/common';
import { metrics } from '../../common/metrics/metrics.js';
import { CronTask } from '../cron/cron-task.decorator.js';
import { allowance, type CpuReading, cpuPercent, memoryPercent } from './process-usage.policy.js';

/** Where cgroup v2 keeps the quota of the container that we are in; on a bare host it is not there. */
const CPU_MAX = '/sys/fs/cgroup/cpu.max';

/** How much of what it is allowed this process uses. */
@Injectable()
export class ProcessUsageCron {
  private readonly allowed = allowance(
    { cpuMax: cpuMax(), memoryBytes: process.constrainedMemory() },
    { cores: availableParallelism(), memoryBytes: totalmem() },
  );
  private last = reading();

  @CronTask({ name: 'infra.process_usage', every: '*/5 * * * * *' })
  async readUsage(): Promise<void> {
    await metrics.collect('process_usage', ['cpu_utilization_percent', 'memory_utilization_percent'], () => {
      const now = reading();
      const cpu = cpuPercent(this.last, now, this.allowed.cores);
      if (cpu !== undefined) metrics.set('cpu_utilization_percent', cpu);
      this.last = now;
      metrics.set('memory_utilization_percent', memoryPercent(process.memoryUsage.rss(), this.allowed.memoryBytes));
    });
  }
}

function reading(): CpuReading {
  const { user, system } = process.cpuUsage();
  return { usedMicros: user + system, atMs: performance.now() };
}

function cpuMax(): string | undefined {
  try {
    return readFileSync(CPU_MAX, 'utf8');
  } catch {
    return undefined;
  }
}

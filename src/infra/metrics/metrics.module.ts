import { readFileSync } from 'node:fs';
import { Module } from '@nestjs/common';
import { PrometheusModule } from '@willsoto/nestjs-prometheus';
import type { Version } from '../../common/metrics/catalogue.js';
import { metrics } from '../../common/metrics/metrics.js';
import { Config } from '../config/config.js';
import { MetricsController } from './metrics.controller.js';
import { ProcessUsageCron } from './process-usage.cron.js';

@Module({
  imports: [PrometheusModule.register({ controller: MetricsController, path: '/metrics' })],
  providers: [ProcessUsageCron],
})
export class MetricsModule {
  constructor(config: Config) {
    const manifest = readFileSync(new URL('../../../package.json', import.meta.url), 'utf8');
    const { version } = JSON.parse(manifest) as { version: Version };
    metrics.set('nmc_build_info', 1, { version, role: config.env.ROLE });
  }
}

import { Controller, Get, Query, Res, UseGuards } from '@nestjs/common';
import { PrometheusController } from '@willsoto/nestjs-prometheus';
import { METRICS, type MetricName } from '../../common/metrics/catalogue.js';
import { metrics } from '../../common/metrics/metrics.js';
import { MetricsGuard } from './metrics.guard.js';

interface ReplyHeaders {
  header(name: string, value: string): unknown;
}

/**
 * The scrape, as plain text for Prometheus and Datadog alike. It only renders what collectors left behind:
 * no query runs here, and no collector can break it.
 */
@Controller('metrics')
@UseGuards(MetricsGuard)
export class MetricsController extends PrometheusController {
  /**
   * @param scope `process` or `shared` (database-derived, the same on every replica: scrape it once); both if absent
   */
  @Get()
  override async index(
    @Res({ passthrough: true }) reply: ReplyHeaders,
    @Query('scope') scope?: string,
  ): Promise<string> {
    reply.header('content-type', metrics.registry.contentType);
    const startedAt = performance.now();
    const text = await this.render(scope);
    metrics.set('nmc_scrape_duration_ms', performance.now() - startedAt);
    return text;
  }

  private async render(scope: string | undefined): Promise<string> {
    if (scope !== 'process' && scope !== 'shared') return metrics.registry.metrics();
    const names = metrics.registry
      .getMetricsAsArray()
      .map(({ name }) => name)
      .filter((name) => (METRICS[name as MetricName]?.scope ?? 'process') === scope);
    const texts = await Promise.all(names.map((name) => metrics.registry.getSingleMetricAsString(name)));
    return `${texts.join('\n\n')}\n`;
  }
}

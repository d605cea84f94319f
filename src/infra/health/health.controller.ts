import { Controller, Get, UseFilters } from '@nestjs/common';
import { HealthCheck, HealthCheckService, HealthIndicatorService } from '@nestjs/terminus';
import { Database } from '../database/database.js';
import { HealthFilter } from './health.filter.js';
import { Lifecycle } from './lifecycle.service.js';

const DATABASE_DEADLINE_MS = 1_000;

/**
 * The probes of Kubernetes. A database that is down makes readiness `degraded`, not failed: taking every pod out of
 * the balancer would turn a short outage into lost calls, while the webhook's own 503 makes the provider retry.
 */
@Controller('health')
@UseFilters(HealthFilter)
export class HealthController {
  constructor(
    private readonly health: HealthCheckService,
    private readonly indicators: HealthIndicatorService,
    private readonly database: Database,
    private readonly lifecycle: Lifecycle,
  ) {}

  /** Only that the event loop turns, also while the process stops (Terminus would fail then); a restart cures nothing else. */
  @Get('live')
  live() {
    return { status: 'ok' };
  }

  @Get('ready')
  @HealthCheck()
  ready() {
    return this.health.check([() => this.accepting(), () => this.reachable('degraded')]);
  }

  /** Migrations have run and the database has answered once. */
  @Get('startup')
  @HealthCheck()
  startup() {
    return this.health.check([() => this.reachable('down')]);
  }

  private accepting() {
    const indicator = this.indicators.check('accepting');
    return this.lifecycle.stopping ? indicator.down('shutting down') : indicator.up();
  }

  private async reachable(otherwise: 'down' | 'degraded') {
    const indicator = this.indicators.check('database');
    const late = new Promise<false>((resolve) => setTimeout(() => resolve(false), DATABASE_DEADLINE_MS).unref());
    const answered = this.database.query('select 1').then(
      () => true,
      () => false,
    );
    // race: the query ends by its own statement timeout; nothing waits for it.
    if (await Promise.race([answered, late])) return indicator.up();
    const message = 'no answer within 1 s';
    return otherwise === 'down' ? indicator.down(message) : indicator.degraded(message);
  }
}

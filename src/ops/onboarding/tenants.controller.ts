import { Body, Controller, Param, Patch, Post, UseGuards } from '@nestjs/common';
import { valid, validUuid } from '../../common/errors/valid.js';
import { OpsGuard } from '../../infra/auth/ops.guard.js';
import { Onboarding } from './onboarding.service.js';
import { newTenant, tenantChanges } from './tenants.dto.js';

/** Onboarding, for operators. */
@Controller('ops/api/tenants')
@UseGuards(OpsGuard)
export class TenantsController {
  constructor(private readonly onboarding: Onboarding) {}

  @Post()
  async create(@Body() body: unknown): Promise<{ tenant_id: string }> {
    return { tenant_id: await this.onboarding.create(valid(newTenant, body)) };
  }

  @Patch(':id')
  async update(@Param('id') id: string, @Body() body: unknown): Promise<{ tenant_id: string }> {
    const tenantId = validUuid(id);
    await this.onboarding.update(tenantId, valid(tenantChanges, body));
    return { tenant_id: tenantId };
  }
}

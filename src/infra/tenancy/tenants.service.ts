import { randomUUIDv7 } from 'node:crypto';
import { Injectable } from '@nestjs/common';
import { AppError } from '../../common/errors/app-error.js';
import type { Transaction } from '../database/database.js';
import { Tenant } from './tenant.entity.js';

/** The directory of businesses. */
@Injectable()
export class Tenants {
  async create(tx: Transaction, details: { name: string; timeZone: string }): Promise<string> {
    const tenantId = randomUUIDv7();
    await tx.manager.insert(Tenant, { tenantId, ...details });
    return tenantId;
  }

  /** @throws AppError `tenancy.unknown_tenant` (404) */
  async update(tx: Transaction, tenantId: string, changes: { name?: string; timeZone?: string }): Promise<void> {
    // Touches the row even without changes, so that concurrent updates of one tenant queue up.
    const { affected } = await tx.manager.update(Tenant, { tenantId }, { ...changes, updatedAt: new Date() });
    if (affected === 0) throw unknownTenant();
  }

  /** @throws AppError `tenancy.unknown_tenant` (404) */
  async get(tx: Transaction, tenantId: string): Promise<Tenant> {
    const tenant = await tx.manager.findOneBy(Tenant, { tenantId });
    if (!tenant) throw unknownTenant();
    return tenant;
  }
}

function unknownTenant(): AppError {
  return new AppError({ code: 'tenancy.unknown_tenant', status: 404, message: 'No such tenant' });
}

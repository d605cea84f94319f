import { Module } from '@nestjs/common';
import { ConsentLedger } from './consent/consent-ledger.service.js';
import { ComplianceApi } from './contracts/compliance.api.js';

@Module({
  providers: [{ provide: ComplianceApi, useClass: ConsentLedger }],
  exports: [ComplianceApi],
})
export class ComplianceModule {}

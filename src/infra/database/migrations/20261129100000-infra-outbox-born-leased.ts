import type { MigrationInterface, QueryRunner } from 'typeorm';
import { createOutboxPublish, ONLY_DUE } from './20261128100000-infra-outbox-pace.js';

/**
 * Born leased is what has its lane to itself. A scheduled row of it may fall due before the publication has committed, and be
 * claimed by somebody who does not see the new one yet: both would run at once.
 */
export class InfraOutboxBornLeased20261129100000 implements MigrationInterface {
  readonly name = 'InfraOutboxBornLeased20261129100000';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(createOutboxPublish());
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(createOutboxPublish(ONLY_DUE));
  }
}

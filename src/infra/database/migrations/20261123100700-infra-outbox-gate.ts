import type { MigrationInterface, QueryRunner } from 'typeorm';

/** A delivery may wait for a provider's account: while its gate is shut it is not claimed. */
export class InfraOutboxGate20261123100700 implements MigrationInterface {
  readonly name = 'InfraOutboxGate20261123100700';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      alter table infra.outbox_deliveries add column gate text;
      create index outbox_deliveries_gate on infra.outbox_deliveries (gate, available_at, delivery_id)
        where gate is not null;
      comment on column infra.outbox_deliveries.gate is 'provider:account that its handler will ask; null: none';
    `);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('alter table infra.outbox_deliveries drop column gate');
  }
}

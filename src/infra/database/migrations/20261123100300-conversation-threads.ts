import type { MigrationInterface, QueryRunner } from 'typeorm';

export class ConversationThreads20261123100300 implements MigrationInterface {
  readonly name = 'ConversationThreads20261123100300';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      create schema if not exists conversation;

      create table conversation.threads (
        thread_id         uuid primary key,
        tenant_id         uuid not null,
        caller            text not null,
        business_number   text not null,
        state             text not null default 'open',
        urgency           int not null default 0,
        opened_at         timestamptz not null default now(),
        last_activity_at  timestamptz not null default now(),
        unique (tenant_id, caller)
      );

      create table conversation.first_reply_templates (
        tenant_id   uuid primary key,
        template    text not null,
        updated_at  timestamptz not null default now()
      );
    `);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('drop schema conversation cascade');
  }
}

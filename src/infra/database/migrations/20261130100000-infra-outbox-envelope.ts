import type { MigrationInterface, QueryRunner } from 'typeorm';
import { createOutboxPublish } from './20261128100000-infra-outbox-pace.js';

/** Bytes of a payload. A wider one stays in the log alone: each claim, renewal and retry writes its row anew. */
const WIDEST_ENCLOSED = 1_000;
const ENVELOPE = `case when pg_column_size(p_payload) <= ${WIDEST_ENCLOSED} then infra.outbox_envelope(
              p_schema_version, v_occurred_at, p_correlation_id, p_causation_id, p_traceparent, p_payload) end`;

/** A delivery has its event with it: to look it up, and to write out its columns, was a fifth of what a claim cost. */
export class InfraOutboxEnvelope20261130100000 implements MigrationInterface {
  readonly name = 'InfraOutboxEnvelope20261130100000';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      create function infra.outbox_envelope(schema_version text, occurred_at timestamptz, correlation_id uuid,
        causation_id uuid, traceparent text, payload jsonb) returns json
      language sql stable parallel safe
      return json_build_array(schema_version, date_part('epoch', occurred_at) * 1000, correlation_id, causation_id,
        traceparent, payload);
      create function infra.outbox_envelope_of(id uuid) returns json language sql stable parallel safe
      return (select infra.outbox_envelope(schema_version, occurred_at, correlation_id, causation_id, traceparent, payload)
        from infra.outbox_events where event_id = id);

      alter table infra.outbox_deliveries add column envelope json;
      comment on column infra.outbox_deliveries.envelope is 'what a claim answers of the event; null: looked up in the log';
      ${createOutboxPublish('', { envelope: ENVELOPE })}
    `);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`
      ${createOutboxPublish()}
      alter table infra.outbox_deliveries drop column envelope;
      drop function infra.outbox_envelope_of, infra.outbox_envelope;
    `);
  }
}

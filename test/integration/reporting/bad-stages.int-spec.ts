import { randomUUID } from 'node:crypto';
import { LedgerCron } from '../../../src/reporting/ledger/ledger.cron.js';
import { SloCron } from '../../../src/reporting/slo/slo.cron.js';
import { eventually } from '../../support/eventually.js';
import { BUSINESS_NUMBER, TestApp } from '../../support/test-app.js';

const STAGES = ['webhook', 'outbox_wait', 'handler', 'provider'] as const;
type Stage = (typeof STAGES)[number];

describe('a call that broke the promise', () => {
  let app: TestApp;
  let tenantId: string;
  beforeAll(async () => {
    app = await TestApp.start();
    tenantId = await app.onboard();
  });
  afterEach(async () => {
    app.twilio.faults.clear();
    await app.db.query(
      'truncate reporting.first_responses, reporting.slo_buckets, reporting.slo_exclusions, reporting.ledger',
    );
  });
  afterAll(() => app.stop());

  const compute = () => app.app.get(SloCron, { strict: false }).computeBudgets();

  /** A call ten seconds ago; with stages, answered. */
  async function call(stagesMs?: Record<Stage, number>, id: string = randomUUID()): Promise<string> {
    const latency = stagesMs && STAGES.reduce((sum, stage) => sum + stagesMs[stage], 0);
    await app.db.query(
      `insert into reporting.first_responses (trigger_id, tenant_id, correlation_id, trigger_kind, detected_at, first_sms_at,
        webhook_ms, outbox_wait_ms, handler_ms, provider_ms)
       select $1::uuid, $2, $1::uuid, 'call', at, at + $3::float8 * interval '1 millisecond', $4, $5, $6, $7
       from (select clock_timestamp() - interval '10 seconds' as at) clock`,
      [id, tenantId, latency, ...STAGES.map((stage) => stagesMs?.[stage])],
    );
    return id;
  }

  /** The message of an open call, its times in seconds ago. */
  async function message(id: string, recorded: number, handled: number, submitted: number | null): Promise<void> {
    await app.db.query(
      `insert into telephony.messages (message_id, tenant_id, direction, purpose, dedup_key, trigger_id, correlation_id,
        caller, business_number, account_sid, body, segments, state, triggered_at, trigger_recorded_at,
        handler_started_at, submitted_at)
       select $1::uuid, $2, 'outbound', 'first_reply', $1::text, $1::uuid, $1::uuid, '+14155550170', '+12125550100', 'AC', '', 1, 'requested',
         at - interval '10 seconds', at - $3::float8 * interval '1 second', at - $4::float8 * interval '1 second',
         at - $5::float8 * interval '1 second'
       from (select clock_timestamp() as at) clock`,
      [id, tenantId, recorded, handled, submitted],
    );
  }

  /** Its event, and the delivery of it that the reply waits for. */
  async function delivery(id: string, finished: number): Promise<void> {
    await app.db.query(
      `with event as (
         insert into infra.outbox_events (event_id, event_name, schema_version, tenant_id, occurred_at, correlation_id,
           ordering_key, payload)
         values ($1::uuid, 'nmc.telephony.CallDetected', '1.0.0', $2, now(), $1::uuid, $1::text,
           jsonb_build_object('call_id', $1::text))
       )
       insert into infra.outbox_deliveries (event_id, event_name, subscriber, tenant_id, ordering_key, lane,
         due_at, available_at, finished)
       values ($1::uuid, 'nmc.telephony.CallDetected', 'conversation.first_reply', $2, $1::text,
         infra.outbox_lane('conversation.first_reply', $1::text), now() + interval '1 hour',
         now() + interval '1 hour', $3)`,
      [id, tenantId, finished],
    );
  }

  async function stageOf(id: string): Promise<string | null | undefined> {
    await compute();
    const row = await app.row<{ bad_stage: string | null }>(
      'select bad_stage from reporting.first_responses where trigger_id = $1',
      [id],
    );
    return row?.bad_stage;
  }

  it.each(STAGES)('names %s when it ate most of the time of a late text', async (slow) => {
    const stages = { webhook: 900, outbox_wait: 901, handler: 902, provider: 903, [slow]: 4_000 };
    expect(await stageOf(await call(stages))).toBe(slow);
  });

  it.each([
    ['outbox_wait', 'its event is not delivered', (id: string) => delivery(id, 0)],
    ['handler', 'its handler has failed and will be tried again', (id: string) => delivery(id, 1)],
    ['handler', 'its event is not delivered any more, and there is no message', async () => undefined],
    ['webhook', 'the webhook took long to record it', (id: string) => message(id, 2, 1, null)],
    ['outbox_wait', 'the handler began late', (id: string) => message(id, 9, 1, null)],
    ['handler', 'nothing is submitted yet', (id: string) => message(id, 9, 8, null)],
    ['provider', 'the provider does not answer', (id: string) => message(id, 9.9, 9.8, 9.7)],
  ])('names %s of an open one while %s', async (stage, _why, standing) => {
    const id = randomUUID();
    // Before the call itself: the app's own cron judges it as soon as it is there.
    await standing(id);
    await call(undefined, id);
    expect(await stageOf(id)).toBe(stage);
  });

  it('has a stage, a good one none, and each is counted once', async () => {
    await call({ webhook: 10, outbox_wait: 10, handler: 10, provider: 6_000 });
    await call({ webhook: 10, outbox_wait: 10, handler: 10, provider: 7_000 });
    await call({ webhook: 10, outbox_wait: 7_000, handler: 10, provider: 10 });
    const good = await call({ webhook: 10, outbox_wait: 10, handler: 10, provider: 300 });
    expect(await stageOf(good)).toBeNull();
    await compute();
    const { rows } = await app.db.query(
      `select metric, label, sum(total)::int as total from reporting.ledger group by metric, label order by metric, label`,
    );
    expect(rows).toEqual([
      { metric: 'slo_first_sms_bad_total', label: 'outbox_wait', total: 1 },
      { metric: 'slo_first_sms_bad_total', label: 'provider', total: 2 },
      { metric: 'slo_first_sms_events_total', label: 'bad', total: 3 },
      { metric: 'slo_first_sms_events_total', label: 'good', total: 1 },
    ]);
  });

  it('keeps the stage of its verdict, whatever comes later', async () => {
    const id = randomUUID();
    await message(id, 9.9, 9.8, 9.7);
    await call(undefined, id);
    expect(await stageOf(id)).toBe('provider');
    await app.db.query(
      `update reporting.first_responses set first_sms_at = now(), webhook_ms = 1, outbox_wait_ms = 9000, handler_ms = 1,
         provider_ms = 1 where trigger_id = $1`,
      [id],
    );
    expect(await stageOf(id)).toBe('provider');
  });

  it('names the provider that hangs, on the metric, by the whole way', async () => {
    app.twilio.faults.always('hang');
    await app.twilio.placeCall({ from: '+14155550171', to: BUSINESS_NUMBER });
    const stages =
      "select label, sum(total)::int as total from reporting.ledger where metric = 'slo_first_sms_bad_total' group by label";
    await eventually(
      async () => {
        await compute();
        expect((await app.db.query(stages)).rows).toEqual([{ label: 'provider', total: 1 }]);
      },
      { label: 'the waiting call is judged', deadlineMs: 30_000 },
    );
    // A counter never goes down: earlier totals of this file may be in it.
    await app.app.get(LedgerCron, { strict: false }).publish();
    expect(await app.metric('slo_first_sms_bad_total{stage="provider"}')).toBeGreaterThanOrEqual(1);
  });
});

import { AppError } from '../../../src/common/errors/app-error.js';
import { PermanentFailure, Snooze } from '../../../src/infra/outbox/outbox.errors.js';
import { Tenant } from '../../../src/infra/tenancy/tenant.entity.js';
import { eventually } from '../../support/eventually.js';
import {
  DEADLINE_MS,
  FIRST,
  OutboxHarness,
  type OutboxProcess,
  Pong,
  SECOND,
  TENANT,
} from '../../support/outbox-harness.js';

describe('failures', () => {
  let outbox: OutboxHarness;
  let app: OutboxProcess;
  beforeAll(async () => {
    outbox = await OutboxHarness.start();
    app = await outbox.process('all');
  });
  afterAll(() => outbox.stop());
  beforeEach(async () => {
    await outbox.db.query('truncate infra.outbox_dead_letters');
    app.handlers.starts.length = 0;
    app.handlers.ends.length = 0;
    app.handlers.behave = {};
  });
  const deadLetters = async () => (await outbox.db.query('select * from infra.outbox_dead_letters')).rows;

  it('makes a dead letter after six attempts, keeps its event, and lets the lane go on', async () => {
    app.handlers.behave[FIRST] = ({ payload }) => {
      if (payload.n === 1) throw new AppError({ code: 'test.broken', status: 500, message: 'row 4711 is broken' });
    };
    const eventId = await app.publish('lane', 1);
    await app.publish('lane', 2);
    await outbox.drained();
    expect(app.handlers.starts.map(({ n, attempt }) => [n, attempt])).toEqual([
      [1, 1],
      [1, 2],
      [1, 3],
      [1, 4],
      [1, 5],
      [1, 6],
      [2, 1],
    ]);
    expect(await deadLetters()).toMatchObject([
      {
        event_id: eventId,
        subscriber: FIRST,
        ordering_key: 'lane',
        attempts: 6,
        reason: 'attempts_exhausted',
        error_code: 'test.broken',
        fingerprint: 'test.broken: row <n> is broken',
      },
    ]);
    expect(await outbox.count('infra.outbox_events where event_id = $1', [eventId])).toBe(1);
  });

  it('does not try a permanent failure again', async () => {
    app.handlers.behave[FIRST] = () => {
      throw new PermanentFailure('test.hopeless', 'never');
    };
    await app.publish('permanent', 1);
    await outbox.drained();
    expect(app.handlers.starts).toHaveLength(1);
    expect(await deadLetters()).toMatchObject([{ reason: 'permanent', error_code: 'test.hopeless', attempts: 1 }]);
  });

  it('waits as long as the error says', async () => {
    const afterMs = 5_000;
    app.handlers.behave[FIRST] = () => {
      throw new AppError({ code: 'test.busy', status: 503, message: 'busy', retry: { afterMs } });
    };
    await app.publish('after', 1);
    const row = await eventually(
      async () =>
        (
          await outbox.db.query(
            `select extract(epoch from available_at - now()) * 1000 as wait, finished, last_error
             from infra.outbox_deliveries where owner is null and ordering_key = 'after'`,
          )
        ).rows[0] ?? null,
      { label: 'the row is put back' },
    );
    expect(Number(row.wait)).toBeGreaterThan(4_000);
    // A virtual machine's clock may be set back by a hair between the two readings.
    expect(Number(row.wait)).toBeLessThanOrEqual(5_010);
    expect(row).toMatchObject({ finished: 1, last_error: 'test.busy' });
    await outbox.db.query("delete from infra.outbox_deliveries where ordering_key = 'after'");
  });

  it('burns no attempt for a snooze, however often, and the rows behind it wait', async () => {
    let snoozes = 0;
    app.handlers.behave[FIRST] = ({ payload }) => {
      if (payload.n === 1 && snoozes++ < 10) throw new Snooze(5, 'reconciling');
    };
    await app.publish('snooze', 1);
    await app.publish('snooze', 2);
    await app.publish('another lane', 3);
    await outbox.drained();
    const lane = app.handlers.starts.filter(({ key }) => key === 'snooze');
    expect(lane.map(({ n }) => n)).toEqual([...Array<number>(11).fill(1), 2]);
    expect(new Set(lane.map(({ attempt }) => attempt))).toEqual(new Set([1]));
    expect(app.handlers.ends[0]).toMatchObject({ n: 3 });
    expect(await outbox.count('infra.outbox_dead_letters')).toBe(0);
  });

  it('gives a handler a deadline: its signal fires, and one that ignores it is given up', async () => {
    const reasons: unknown[] = [];
    let runs = 0;
    app.handlers.behave[SECOND] = (_event, { signal }) => {
      if (runs++ > 0) return;
      return new Promise<void>(() => {
        signal.addEventListener('abort', () => reasons.push(signal.reason.message));
      });
    };
    await app.publish('deadline', 1, { contract: Pong });
    await outbox.drained();
    expect(reasons).toEqual([`${SECOND} exceeded ${DEADLINE_MS} ms`]);
    expect(app.handlers.starts.filter(({ subscriber }) => subscriber === SECOND).map((run) => run.attempt)).toEqual([
      1, 2,
    ]);
    expect(app.lines('will be retried')).toContainEqual(expect.objectContaining({ error_code: 'outbox.deadline' }));
  });

  it('turns a delivery without handler, and one whose payload no longer fits, into dead letters', async () => {
    await outbox.insertRows(1, { keyPrefix: 'misfit', available: "now() + interval '1 hour'" });
    await outbox.db.query(`update infra.outbox_deliveries set subscriber = 'gone.handler'`);
    await outbox.insertRows(1, { keyPrefix: 'changed', available: "now() + interval '1 hour'" });
    await outbox.db.query(`update infra.outbox_events set payload = '{"n": "text"}' where ordering_key = 'changed0'`);
    await outbox.insertRows(1, { keyPrefix: 'lost', available: "now() + interval '1 hour'" });
    await outbox.db.query(`delete from infra.outbox_events where ordering_key = 'lost0'`);
    await outbox.db.query('update infra.outbox_deliveries set available_at = now(), envelope = null');
    await outbox.drained();
    const reasons = (await deadLetters()).map((row) => `${row.ordering_key} ${row.error_code}`).sort();
    expect(reasons).toEqual([
      'changed0 outbox.bad_payload',
      'lost0 outbox.bad_payload',
      'misfit0 outbox.no_subscriber',
    ]);
  });

  it('burns no attempt over a database that goes away, however often', async () => {
    let cuts = 0;
    app.handlers.behave[FIRST] = () =>
      app.database.transaction(async (tx) => {
        const [row] = await tx.query<{ pid: number }>('select pg_backend_pid() as pid');
        if (++cuts <= 8) await outbox.db.query('select pg_terminate_backend($1)', [row?.pid]);
        if (cuts % 2) await tx.query('select 1');
        else await tx.manager.existsBy(Tenant, { tenantId: TENANT });
      });
    await app.publish('cut off', 1);
    await outbox.drained();
    expect(cuts).toBe(9);
    expect(app.handlers.starts.map(({ attempt }) => attempt)).toEqual(Array(9).fill(1));
    expect(await outbox.count('infra.outbox_dead_letters')).toBe(0);
  });
});

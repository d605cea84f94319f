import { metrics } from '../../../src/common/metrics/metrics.js';
import {
  type DeadLetterScope,
  DeadLetters,
  MAX_DECIDED_AT_ONCE,
} from '../../../src/infra/outbox/dead-letters.service.js';
import { BURY, COMPLETE } from '../../../src/infra/outbox/deliveries.queries.js';
import { OutboxCron } from '../../../src/infra/outbox/outbox.cron.js';
import { PermanentFailure } from '../../../src/infra/outbox/outbox.errors.js';
import { OutboxPartitions } from '../../../src/infra/outbox/outbox-partitions.service.js';
import { eventually } from '../../support/eventually.js';
import {
  FIRST,
  type InsertOptions,
  OTHER_TENANT,
  OutboxHarness,
  type OutboxProcess,
  TENANT,
} from '../../support/outbox-harness.js';

const BROKEN = 'test.hopeless: never';
const ALL: DeadLetterScope = { kind: 'all' };
const operator = { actor: 'ana', ratePerSecond: 100 };

let outbox: OutboxHarness;
/** Decides, and delivers nothing: what it puts back can be looked at. */
let web: OutboxProcess;
beforeAll(async () => {
  outbox = await OutboxHarness.start();
  web = await outbox.process('web', { ROLE: 'web' });
});
afterAll(() => outbox.stop());
beforeEach(() =>
  outbox.db.query(
    'truncate infra.outbox_deliveries, infra.outbox_dead_letters, infra.outbox_discarded_letters, infra.outbox_history',
  ),
);

const letters = (process = web) => process.context.get(DeadLetters);

/** Deliveries that died, oldest first; answers their ids. */
async function dead(rows: number, options: InsertOptions = {}): Promise<string[]> {
  const events = await outbox.insertRows(rows, { ...options, available: "now() + interval '1 hour'" });
  const buried = await outbox.db.query<{ delivery_id: string }>(
    `with dead as (delete from infra.outbox_deliveries where event_id = any ($1) returning *)
     insert into infra.outbox_dead_letters (delivery_id, event_id, event_name, subscriber, tenant_id, ordering_key,
       created_at, attempts, reason, error_code, fingerprint, fence)
     select delivery_id, event_id, event_name, subscriber, tenant_id, ordering_key, created_at, 6, 'attempts_exhausted',
       'test.hopeless', $2, 7 from dead order by delivery_id
     returning delivery_id`,
    [events, BROKEN],
  );
  return buried.rows.map(({ delivery_id }) => delivery_id);
}

async function deliveries() {
  const { rows } = await outbox.db.query(
    `select delivery_id, tenant_id, ordering_key, due_at, available_at, owner, fence, finished, started, rescued, last_error,
       extract(epoch from due_at - min(due_at) over ()) * 1000 as after_ms
     from infra.outbox_deliveries order by due_at`,
  );
  return rows;
}

async function audited() {
  const { rows } = await outbox.db.query(
    'select actor, action, subject, detail from infra.audit_log order by audit_id',
  );
  return rows;
}

describe('a retry', () => {
  it('delivers the same delivery again, with all its attempts', async () => {
    const worker = await outbox.process('worker');
    worker.handlers.behave[FIRST] = () => {
      throw new PermanentFailure('test.hopeless', 'never');
    };
    await worker.publish('lane', 1);
    await outbox.drained();
    const [letter] = (await letters().list({}, 10)).items;
    expect(letter).toMatchObject({ subscriber: FIRST, reason: 'permanent', fingerprint: BROKEN, attempts: 1 });

    worker.handlers.behave = {};
    const answer = await letters().retry(ALL, operator);
    expect(answer).toEqual({ retried: 1, not_found: 0, remaining: 0, last_due_at: expect.any(Date) });
    await eventually(() => outbox.count('infra.outbox_history').then((n) => n === 1), { label: 'it is delivered' });
    const done = await outbox.db.query('select delivery_id, attempts from infra.outbox_history');
    expect(done.rows).toEqual([{ delivery_id: letter?.delivery_id, attempts: 1 }]);
    expect(worker.handlers.ends).toMatchObject([{ n: 1, attempt: 1, eventId: letter?.event_id }]);
    expect(await outbox.count('infra.outbox_dead_letters')).toBe(0);
    await outbox.stopProcess(worker);
  });

  it('may end in the dead letters again', async () => {
    const worker = await outbox.process('worker');
    worker.handlers.behave[FIRST] = () => {
      throw new PermanentFailure('test.hopeless', 'never');
    };
    const [id] = await dead(1);
    await letters().retry(ALL, operator);
    await eventually(async () => (await letters().list({}, 10)).items[0]?.delivery_id === id, {
      label: 'it died again',
    });
    await outbox.stopProcess(worker);
  });

  it('spreads what it puts back at the rate, tenants in turn, every lane in its order', async () => {
    await dead(6, { keyPrefix: 'crowd', oneLane: true });
    await dead(2, { keyPrefix: 'other', tenantId: OTHER_TENANT });
    const { last_due_at } = await letters().retry(ALL, { actor: 'ana', ratePerSecond: 4 });
    const rows = await deliveries();
    expect(rows.map(({ after_ms }) => Number(after_ms))).toEqual([0, 250, 500, 750, 1_000, 1_250, 1_500, 1_750]);
    expect(
      rows
        .map(({ tenant_id }) => (tenant_id === TENANT ? 'crowd' : 'other'))
        .slice(0, 4)
        .toSorted(),
    ).toEqual(['crowd', 'crowd', 'other', 'other']);
    const lane = rows.filter(({ tenant_id }) => tenant_id === TENANT).map(({ delivery_id }) => Number(delivery_id));
    expect(lane).toEqual(lane.toSorted((a, b) => a - b));
    expect(rows.at(-1)?.due_at).toEqual(last_due_at);
    const fresh = { owner: null, fence: 8, finished: 0, started: 0, rescued: 0, last_error: null };
    for (const row of rows) expect(row).toMatchObject({ ...fresh, available_at: row.due_at });
  });

  it('is scheduled until its turn: neither lag nor depth, and in nobody’s way', async () => {
    const last = (await dead(61, { keyPrefix: 'lane', oneLane: true })).at(-1);
    await letters().retry(ALL, { actor: 'ana', ratePerSecond: 1 });
    // The last one's turn is in a minute.
    await outbox.db.query('delete from infra.outbox_deliveries where delivery_id <> $1', [last]);
    await web.context.get(OutboxCron).readBacklog();
    const read = async (name: string) => (await metrics.registry.getSingleMetric(name)?.get())?.values[0]?.value;
    expect(await read('outbox_dispatch_lag_seconds')).toBe(0);
    expect(await read('worker_queue_depth')).toBe(0);
    expect(await read('outbox_dead_letters')).toBe(0);
    const worker = await outbox.process('worker');
    await worker.publish('lane', 99);
    await eventually(() => worker.handlers.ends.length === 1, { label: 'what came later is delivered' });
    expect(worker.handlers.ends).toMatchObject([{ n: 99 }]);
    expect(await outbox.count('infra.outbox_deliveries where owner is null')).toBe(1);
    await outbox.stopProcess(worker);
  });

  it('is run in the order of its lane, also before what is waiting there', async () => {
    await dead(3, { keyPrefix: 'lane', oneLane: true });
    await letters().retry(ALL, { actor: 'ana', ratePerSecond: 10 });
    await outbox.insertRows(1, { keyPrefix: 'lane', oneLane: true, available: "now() + interval '400 milliseconds'" });
    const worker = await outbox.process('worker', { OUTBOX_POLL_MS: '20' });
    const overlapping: number[] = [];
    let running = 0;
    worker.handlers.behave[FIRST] = async () => {
      running++;
      overlapping.push(running);
      await new Promise(setImmediate);
      running--;
    };
    await outbox.drained();
    const { rows } = await outbox.db.query('select delivery_id from infra.outbox_history order by completed_at');
    const ids = rows.map(({ delivery_id }) => Number(delivery_id));
    expect(ids).toHaveLength(4);
    expect(ids.slice(0, 3)).toEqual(ids.slice(0, 3).toSorted((a, b) => a - b));
    expect(Math.max(...overlapping)).toBe(1);
    await outbox.stopProcess(worker);
  });

  it('cannot be completed or buried by a process that held it before it died', async () => {
    const [id] = await dead(1);
    await letters().retry(ALL, operator);
    for (const fence of [6, 7]) {
      await outbox.db.query(COMPLETE, [[id], [fence], [1], [], []]);
      await outbox.db.query(BURY, [id, fence, 1, 'permanent', 'late', 'late']);
    }
    expect(await deliveries()).toMatchObject([{ delivery_id: id, fence: 8 }]);
  });

  it('is announced to the other processes', async () => {
    await dead(1);
    const listener = await outbox.db.connect();
    let announced = 0;
    listener.on('notification', () => announced++);
    await listener.query('listen nmc_outbox');
    await letters().retry(ALL, operator);
    await eventually(() => announced > 0, { label: 'the others are told' });
    listener.release(true);
  });

  it('takes a group and leaves the others', async () => {
    const [kept] = await dead(1, { tenantId: OTHER_TENANT });
    await dead(2);
    const group = { subscriber: FIRST, fingerprint: BROKEN };
    const retry = (narrowed: object) => letters().retry({ kind: 'group', group: { ...group, ...narrowed } }, operator);
    expect(await retry({ fingerprint: 'another' })).toMatchObject({ retried: 0, not_found: 0, last_due_at: null });
    expect(await retry({ event_name: 'nmc.telephony.Another' })).toMatchObject({ retried: 0 });
    expect(await retry({ tenant_id: TENANT, reason: 'attempts_exhausted' })).toMatchObject({ retried: 2 });
    expect((await letters().list({}, 10)).items.map(({ delivery_id }) => delivery_id)).toEqual([kept]);
  });

  it('says what it did not find', async () => {
    const [id = ''] = await dead(1);
    const scope: DeadLetterScope = { kind: 'deliveries', ids: [id, '9223372036854775807'] };
    expect(await letters().retry(scope, operator)).toMatchObject({ retried: 1, not_found: 1 });
    expect(await letters().retry(scope, operator)).toMatchObject({ retried: 0, not_found: 2, last_due_at: null });
  });

  it('is done once, however many ask for it at the same time', async () => {
    const ids = await dead(40);
    const other = await outbox.process('other', { ROLE: 'web' });
    const named: DeadLetterScope = { kind: 'deliveries', ids };
    const answers = await Promise.all([
      letters().retry(named, operator),
      letters(other).retry({ kind: 'deliveries', ids: ids.toReversed() }, operator),
      letters(other).retry(ALL, operator),
      letters().discard(named, { actor: 'ben', why: 'nobody needs them' }),
    ]);
    const done = answers.map((answer) => ('retried' in answer ? answer.retried : answer.discarded));
    expect(done.toSorted((a, b) => b - a)).toEqual([40, 0, 0, 0]);
    const kept =
      (await outbox.count('infra.outbox_deliveries')) + (await outbox.count('infra.outbox_discarded_letters'));
    expect(kept).toBe(40);
    for (const answer of answers) {
      const count = 'retried' in answer ? answer.retried : answer.discarded;
      if (answer !== answers[2]) expect(answer.not_found).toBe(40 - count);
    }
    await outbox.stopProcess(other);
  });

  it('takes so many at once, the oldest, and says how many are left', async () => {
    const extra = 3;
    await outbox.db.query(
      `insert into infra.outbox_dead_letters (delivery_id, event_id, event_name, subscriber, tenant_id, ordering_key,
         created_at, attempts, reason, error_code, fingerprint)
       select n, gen_random_uuid(), 'x', 'x', $2, n, now(), 6, 'x', 'x', 'x' from generate_series(1, $1::int) n`,
      [MAX_DECIDED_AT_ONCE + extra, TENANT],
    );
    expect(await letters().retry(ALL, operator)).toMatchObject({ retried: MAX_DECIDED_AT_ONCE, remaining: extra });
    const left = await letters().list({}, 10);
    expect(left.items.map(({ delivery_id }) => Number(delivery_id)).toSorted((a, b) => a - b)).toEqual([
      MAX_DECIDED_AT_ONCE + 1,
      MAX_DECIDED_AT_ONCE + 2,
      MAX_DECIDED_AT_ONCE + 3,
    ]);
  });
});

describe('a discard', () => {
  it('keeps the record: what, who, when and why, and the event', async () => {
    const [id] = await dead(1);
    const [letter] = (await letters().list({}, 1)).items;
    const why = 'called +1 415 555 0132 back myself';
    const answer = await letters().discard(ALL, { actor: 'ben', why });
    expect(answer).toEqual({ discarded: 1, not_found: 0, remaining: 0 });
    const { rows } = await outbox.db.query('select * from infra.outbox_discarded_letters');
    const { correlation_id: _, ...same } = letter ?? { correlation_id: '' };
    expect(rows).toMatchObject([{ ...same, discarded_by: 'ben', discarded_at: expect.any(Date) }]);
    expect(rows[0].discard_reason).toMatch(/^called .*0132 back myself$/);
    expect(rows[0].discard_reason).not.toContain('555');
    expect(await outbox.count('infra.outbox_events where event_id = $1', [letter?.event_id])).toBe(1);
    expect(await deliveries()).toEqual([]);
    expect(await letters().retry({ kind: 'deliveries', ids: [id ?? ''] }, operator)).toMatchObject({ not_found: 1 });
  });

  it('lets the event go with the others of its day; before that it stays', async () => {
    await dead(1);
    const old = '01900000-0000-7000-8000-000000000001';
    await outbox.db.query(
      `with moved as (
         update infra.outbox_events set event_id = $1
         where event_id = (select event_id from infra.outbox_dead_letters) returning 1)
       update infra.outbox_dead_letters set event_id = $1`,
      [old],
    );
    const maintain = () => web.context.get(OutboxPartitions).maintain();
    const there = () => outbox.count('infra.outbox_events where event_id = $1', [old]);
    await maintain();
    expect(await there()).toBe(1);
    await letters().discard(ALL, { actor: 'ben', why: 'too old' });
    await maintain();
    expect(await there()).toBe(0);
  });
});

describe('the audit', () => {
  it('has a row and a line for each decision, those without effect included', async () => {
    const before = (await audited()).length;
    const lines = web.lines('done by hand').length;
    const ids = await dead(2);
    await letters().retry({ kind: 'deliveries', ids: ids.slice(0, 1) }, operator);
    await letters().discard(
      { kind: 'group', group: { subscriber: FIRST, fingerprint: BROKEN } },
      { actor: 'ben', why: 'obsolete' },
    );
    await letters().retry(ALL, operator);
    expect((await audited()).slice(before)).toMatchObject([
      {
        actor: 'ana',
        action: 'dead_letters.retry',
        subject: 'deliveries',
        detail: { retried: 1, not_found: 0, remaining: 0, rate_per_second: 100, ids: ids.slice(0, 1) },
      },
      {
        actor: 'ben',
        action: 'dead_letters.discard',
        subject: 'group',
        detail: {
          group: { subscriber: FIRST, fingerprint: BROKEN },
          discard_reason: 'obsolete',
          discarded: 1,
          ids: ids.slice(1),
        },
      },
      { actor: 'ana', subject: 'all', detail: { retried: 0, ids: [] } },
    ]);
    expect(web.lines('done by hand').slice(lines)).toMatchObject([
      { level: 'info', actor: 'ana', action: 'dead_letters.retry', subject: 'deliveries', retried: 1 },
      { actor: 'ben', action: 'dead_letters.discard', discarded: 1 },
      { actor: 'ana', subject: 'all', retried: 0 },
    ]);
  });

  it('and the deed are one: what cannot be recorded is not done', async () => {
    await dead(1);
    const lines = web.lines('done by hand').length;
    await outbox.db.query('alter table infra.audit_log rename to audit_log_away');
    try {
      await expect(letters().retry(ALL, operator)).rejects.toThrow('audit_log');
      await expect(letters().discard(ALL, { actor: 'ben', why: 'x' })).rejects.toThrow('audit_log');
    } finally {
      await outbox.db.query('alter table infra.audit_log_away rename to audit_log');
    }
    expect(await outbox.count('infra.outbox_dead_letters')).toBe(1);
    expect(web.lines('done by hand')).toHaveLength(lines);
  });

  it.each(['update infra.audit_log set actor = $$nobody$$', 'delete from infra.audit_log', 'truncate infra.audit_log'])(
    'is append-only: %s',
    async (sql) => {
      await letters().retry(ALL, operator);
      await expect(outbox.db.query(sql)).rejects.toThrow('append-only');
    },
  );
});

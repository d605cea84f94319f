import { Database } from '../../../src/infra/database/database.js';
import { Tenant } from '../../../src/infra/tenancy/tenant.entity.js';
import { eventually } from '../../support/eventually.js';
import { OutboxHarness, type OutboxProcess } from '../../support/outbox-harness.js';

const TENANT_ID = '00000000-0000-4000-8000-0000000000aa';

describe('a transaction', () => {
  let outbox: OutboxHarness;
  let app: OutboxProcess;
  let database: Database;
  const effects = () => outbox.count('public.effects');
  const write = "insert into public.effects values ('s', 1, null)";

  beforeAll(async () => {
    outbox = await OutboxHarness.start();
    app = await outbox.process('web', { ROLE: 'web', DB_POOL_MAX: '1' });
    database = app.context.get(Database);
  });
  afterAll(() => outbox.stop());
  beforeEach(() => outbox.db.query('truncate public.effects'));

  it('is one: nothing is visible before its commit, everything after, and then the actions run', async () => {
    const seen: string[] = [];
    await database.transaction(async (tx) => {
      await tx.query(write);
      tx.beforeCommit(async (query) => void (await query(write)));
      tx.afterCommit(() => seen.push('after'));
      expect(await effects()).toBe(0);
      expect(seen).toEqual([]);
    });
    expect(seen).toEqual(['after']);
    expect(await effects()).toBe(2);
  });

  it('is rolled back by a throw, and its connection serves the next one', async () => {
    const failing = database.transaction(async (tx) => {
      await tx.query(write);
      tx.afterCommit(() => {
        throw new Error('must not run');
      });
      throw new Error('changed my mind');
    });
    await expect(failing).rejects.toThrow('changed my mind');
    await database.transaction((tx) => tx.query(write));
    expect(await effects()).toBe(1);
  });

  it('is rolled back when a statement that travelled with the COMMIT fails, and says which', async () => {
    const actions: string[] = [];
    const failing = database.transaction(async (tx) => {
      await tx.query(write);
      tx.beforeCommit(async (query) => void (await query('select 1/0')));
      tx.beforeCommit(async (query) => void (await query(write)));
      tx.afterCommit(() => actions.push('ran'));
    });
    await expect(failing).rejects.toThrow('division by zero');
    expect(await effects()).toBe(0);
    expect(actions).toEqual([]);
  });

  it('is the statement itself where there is only one: done, or not done and said so', async () => {
    const actions: string[] = [];
    const transactionOf = (sql: string) =>
      database.transaction(async (tx) => {
        tx.beforeCommit(async (query) => void (await query(sql)));
        tx.afterCommit(() => actions.push(sql));
      });
    await transactionOf(write);
    expect(await effects()).toBe(1);
    await expect(transactionOf(`${write}, ('s', 1/0, null)`)).rejects.toThrow('division by zero');
    expect(await effects()).toBe(1);
    expect(actions).toEqual([write]);
    expect(await database.transaction(async () => 'nothing to say')).toBe('nothing to say');
  });

  it('takes one statement from each that travels with the COMMIT', async () => {
    const two = database.transaction(async (tx) => {
      tx.beforeCommit(async (query) => {
        await query(write);
        await query(write);
      });
    });
    await expect(two).rejects.toThrow('one statement each');
  });

  it.each([
    ['a transaction of several statements', 2],
    ['its only statement', 1],
  ])('is followed by what goes out behind the commit of %s: nobody waits for that', async (_, statements) => {
    const gate = await outbox.db.connect();
    await gate.query('select pg_advisory_lock(9, 9)');
    await database.transaction(async (tx) => {
      for (let n = 1; n < statements; n++) await tx.query(write);
      tx.beforeCommit(async (query) => {
        tx.behindCommit((send) => send('select pg_advisory_xact_lock(9, 9), 1 / (random() * 0)::int'));
        await query(write);
      });
    });
    expect(await effects()).toBe(statements);
    // Of the pool's only connection the follower still has the use, until it has failed, which is nobody's business.
    const next = database.transaction((tx) => tx.query(write));
    await eventually(
      async () =>
        (await outbox.count("pg_stat_activity where wait_event = 'advisory' and query like '%random()%::int'")) === 1,
      { label: 'the follower waits' },
    );
    expect(await effects()).toBe(statements);
    await gate.query('select pg_advisory_unlock(9, 9)');
    gate.release();
    await next;
    expect(await effects()).toBe(statements + 1);
  });

  it('does not pass for committed when a failure was swallowed on the way', async () => {
    const failing = database.transaction(async (tx) => {
      await tx.query(write);
      await tx.query('select 1/0').catch(() => {});
    });
    await expect(failing).rejects.toThrow('was rolled back');
    expect(await effects()).toBe(0);
  });

  it('holds entities and SQL together', async () => {
    const failing = database.transaction(async (tx) => {
      await tx.manager.save(tx.manager.create(Tenant, { tenantId: TENANT_ID, name: 'n', timeZone: 'UTC' }));
      await tx.query(write);
      throw new Error('changed my mind');
    });
    await expect(failing).rejects.toThrow('changed my mind');
    expect(await outbox.count('infra.tenants')).toBe(0);
    expect(await effects()).toBe(0);
  });

  it('leaves the pool usable when the server cuts its connection', async () => {
    const cut = database.transaction(async (tx) => {
      const [row] = await tx.query<{ pid: number }>('select pg_backend_pid() as pid');
      await outbox.db.query('select pg_terminate_backend($1)', [row?.pid]);
      await tx.query(write);
    });
    await expect(cut).rejects.toThrow();
    await database.transaction((tx) => tx.query(write));
    expect(await effects()).toBe(1);
  });
});

import { globSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import pg from 'pg';
import { cloneDatabase, type TestDatabase } from '../../support/database.js';

const ROOT = fileURLToPath(new URL('../../..', import.meta.url));
const QUERIES = globSync('docs/runbooks/*.md', { cwd: ROOT }).flatMap((path) =>
  [...readFileSync(`${ROOT}${path}`, 'utf8').matchAll(/```sql\n(.*?)```/gs)].map(([, sql], index) => ({
    place: `${path}, query ${index + 1}`,
    sql: sql ?? '',
  })),
);

describe('the SQL of the runbooks', () => {
  let database: TestDatabase;
  let db: pg.Client;
  beforeAll(async () => {
    database = await cloneDatabase();
    db = new pg.Client({ connectionString: database.url });
    await db.connect();
  });
  afterAll(async () => {
    await db.end();
    await database.drop();
  });

  it('was found', () => expect(QUERIES.length).toBeGreaterThan(8));

  it.each(QUERIES)('$place runs on the schema as it is', async ({ sql }) => {
    await expect(db.query(sql)).resolves.toBeDefined();
  });

  it('retries the dead letters of one fingerprint and leaves the others', async () => {
    await db.query(`
      insert into infra.outbox_dead_letters (delivery_id, event_id, event_name, subscriber, tenant_id, ordering_key,
        created_at, attempts, reason, error_code, fingerprint)
      select id, gen_random_uuid(), 'nmc.telephony.CallDetected', 'conversation.first_reply', gen_random_uuid(), 'k',
        now(), 6, 'exhausted', 'x', fingerprint
      from (values (1, 'the-fingerprint'), (2, 'another')) as dead (id, fingerprint)`);
    const retry = QUERIES.find(({ sql }) => sql.includes('delete from infra.outbox_dead_letters'));
    await db.query(retry?.sql ?? '');
    const left = await db.query('select fingerprint from infra.outbox_dead_letters');
    expect(left.rows).toEqual([{ fingerprint: 'another' }]);
    const due = await db.query(
      'select subscriber, finished, owner from infra.outbox_deliveries where available_at <= now()',
    );
    expect(due.rows).toEqual([{ subscriber: 'conversation.first_reply', finished: 0, owner: null }]);
  });
});

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
});

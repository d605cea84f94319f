import { globSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const SRC = fileURLToPath(new URL('../../src/', import.meta.url));
const contexts = new Set(
  globSync('*/*.module.ts', { cwd: SRC })
    .map((path) => path.split('/')[0] ?? '')
    .filter((name) => !['infra', 'common', 'demo'].includes(name)),
);
/** Views that a context shows to others: a contract, like an event. */
const PUBLISHED = ['telephony.first_reply_progress'];

/** The tables of other contexts that a context's SQL touches: the schemas have walls, too. */
function trespassesIn(context: string, text: string): string[] {
  return [...text.matchAll(/\b(?:from|join|into|update|truncate|table)\s+(?:only\s+)?(\w+)\.(\w+)/gi)]
    .filter(([, schema = '']) => contexts.has(schema) && schema !== context)
    .map(([, schema, table]) => `${schema}.${table}`)
    .filter((name) => !PUBLISHED.includes(name));
}

describe('the schema of a context', () => {
  it('is touched by nobody else, and who does is caught', () => {
    expect([...contexts]).toEqual(
      expect.arrayContaining(['telephony', 'conversation', 'reporting', 'compliance', 'ops']),
    );
    expect(
      trespassesIn('reporting', 'select 1 from telephony.messages m\n  join conversation.threads using (x)'),
    ).toEqual(['telephony.messages', 'conversation.threads']);
    expect(trespassesIn('ops', 'with a as (update telephony.calls set b = 1)')).toEqual(['telephony.calls']);
    expect(trespassesIn('telephony', 'insert into telephony.calls select * from infra.tenants')).toEqual([]);
    expect(trespassesIn('reporting', 'select * from telephony.first_reply_progress')).toEqual([]);
  });

  it.each([...contexts])('of the others is let alone by %s', (context) => {
    const paths = globSync(`${context}/**/*.ts`, { cwd: SRC });
    expect(paths.length).toBeGreaterThan(0);
    const found = paths.flatMap((path) =>
      trespassesIn(context, readFileSync(SRC + path, 'utf8')).map((table) => `${path}: ${table}`),
    );
    expect(found).toEqual([]);
  });
});

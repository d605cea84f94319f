import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { eventually } from '../../support/eventually.js';
import { TestApp } from '../../support/test-app.js';

const LIST = '/ops/api/dead-letters';
const TENANT = randomUUID();

let app: TestApp;
beforeAll(async () => {
  app = await TestApp.start({ env: { ROLE: 'web' } });
});
afterAll(() => app.stop());
beforeEach(() => app.db.query('truncate infra.outbox_dead_letters, infra.outbox_deliveries'));

const get = (query: Record<string, string | number> = {}) => app.http.get(LIST).auth('ops', 'ops').query(query);
const post = (action: string, body: unknown) =>
  app.http
    .post(`${LIST}/${action}`)
    .auth('ops', 'ops')
    .send(body as object);

interface Dying {
  subscriber?: string;
  fingerprint?: string;
  diedAt?: string;
  errorCode?: string;
  tenantId?: string;
}
let nextId = 1;
async function die(count: number, { subscriber = 'x.y', fingerprint = 'f', ...more }: Dying = {}): Promise<void> {
  await app.db.query(
    `with events as (
       insert into infra.outbox_events (event_id, event_name, schema_version, tenant_id, occurred_at, correlation_id,
         ordering_key, payload)
       select gen_random_uuid(), 'nmc.telephony.CallDetected', '1.0.0', $6, now(), gen_random_uuid(), 'k', '{"caller": "+14155550132"}'
       from generate_series(1, $2::int) returning event_id)
     insert into infra.outbox_dead_letters (delivery_id, event_id, event_name, subscriber, tenant_id, ordering_key,
       created_at, died_at, attempts, reason, error_code, fingerprint)
     select $1::bigint + row_number() over () - 1, event_id, 'nmc.telephony.CallDetected', $3, $6, 'k', now(),
       coalesce($5::timestamptz, clock_timestamp()), 6, 'attempts_exhausted', $7, $4 from events`,
    [nextId, count, subscriber, fingerprint, more.diedAt ?? null, more.tenantId ?? TENANT, more.errorCode ?? 'e'],
  );
  nextId += count;
}

interface Page {
  items: unknown[];
  next_cursor: string | null;
}
/** Every page, with `between` after each. */
async function pages(query: Record<string, string | number>, between = async () => {}): Promise<unknown[]> {
  const items: unknown[] = [];
  let cursor: string | undefined;
  do {
    const { body }: { body: Page } = await get(cursor ? { ...query, cursor } : query).expect(200);
    items.push(...body.items);
    cursor = body.next_cursor ?? undefined;
    await between();
  } while (cursor);
  return items;
}
const idsOf = (items: unknown[]) => items.map((item) => (item as { delivery_id: string }).delivery_id);

describe('dead letters', () => {
  it('are for operators only, and not for other sites’ forms', async () => {
    await die(1);
    for (const request of [app.http.get(LIST), app.http.post(`${LIST}/retry`), app.http.post(`${LIST}/discard`)]) {
      await request.expect(401).expect('www-authenticate', /^Basic /);
    }
    await post('retry', { all: true }).auth('ops', 'wrong').expect(401);
    for (const site of ['cross-site', 'same-site']) {
      const answer = await post('retry', { all: true }).set('sec-fetch-site', site).expect(403);
      expect(answer.body.code).toBe('auth.cross_site');
    }
    expect((await get().expect(200)).body.items).toHaveLength(1);
    await post('retry', { all: true }).set('sec-fetch-site', 'same-origin').expect(200);
  });

  it('are shown with everything that finds the journey, and nothing that is personal', async () => {
    const fingerprint = 'pg: duplicate key (phone)=(+14155550132) of jo@example.com';
    await die(1, { fingerprint, errorCode: 'no_route_to_jo@example.com' });
    const { body, text } = await get().expect(200);
    expect(body).toEqual({
      items: [
        {
          delivery_id: expect.stringMatching(/^\d+$/),
          event_id: expect.any(String),
          event_name: 'nmc.telephony.CallDetected',
          subscriber: 'x.y',
          tenant_id: TENANT,
          correlation_id: expect.any(String),
          created_at: expect.stringMatching(/Z$/),
          died_at: expect.stringMatching(/Z$/),
          attempts: 6,
          reason: 'attempts_exhausted',
          error_code: expect.stringContaining('***'),
          fingerprint: expect.stringContaining('***0132'),
        },
      ],
      next_cursor: null,
    });
    await die(1, { subscriber: 'z.z' });
    const grouped = await get({ group: 'fingerprint', limit: 1 }).expect(200);
    const cursor = Buffer.from(grouped.body.next_cursor, 'base64url').toString('utf8');
    for (const answer of [text, grouped.text, cursor]) expect(answer).not.toMatch(/4155550132|jo@/);
  });

  it('come newest first, page by page, none twice and none left out, while others die and are retried', async () => {
    // The same moment for many, and moments that differ by a microsecond.
    await die(7, { diedAt: '2026-11-20T10:00:00.000001Z' });
    await die(1, { diedAt: '2026-11-20T10:00:00.000002Z' });
    await die(1, { diedAt: '2026-11-20T10:00:00.000003Z' });
    await die(6, { diedAt: '2026-11-20T10:00:00.0009Z' });
    const expected = idsOf((await get({ limit: 200 }).expect(200)).body.items);
    expect(expected).toHaveLength(15);
    for (const limit of [1, 2, 4, 15]) expect(idsOf(await pages({ limit }))).toEqual(expected);
    const [gone] = expected;
    const seen = idsOf(
      await pages({ limit: 2 }, async () => {
        await die(1);
        await post('retry', { delivery_ids: [gone] }).expect(200);
      }),
    );
    expect(seen).toEqual(expected);
  });

  it('are filtered by each of their marks', async () => {
    const other = randomUUID();
    await die(2);
    await die(1, { subscriber: 'a.b' });
    await die(1, { fingerprint: 'another' });
    await die(1, { tenantId: other });
    const count = async (query: Record<string, string>) => (await get(query).expect(200)).body.items.length;
    expect(await count({ subscriber: 'a.b' })).toBe(1);
    expect(await count({ fingerprint: 'another' })).toBe(1);
    expect(await count({ tenant_id: other })).toBe(1);
    expect(await count({ tenant_id: TENANT, subscriber: 'x.y', fingerprint: 'f' })).toBe(2);
    expect(await count({ reason: 'permanent' })).toBe(0);
    expect(await count({ event_name: 'nmc.telephony.CallDetected' })).toBe(5);
  });

  it('are grouped by cause, page by page', async () => {
    await die(3, { diedAt: '2026-11-20T10:00:00Z' });
    await die(2, { diedAt: '2026-11-21T10:00:00Z' });
    for (const fingerprint of ['g', 'h', 'i']) await die(1, { fingerprint });
    await die(1, { subscriber: 'a.b' });
    const groups = (await pages({ group: 'fingerprint', limit: 2 })) as Record<string, unknown>[];
    expect(groups.map(({ subscriber, fingerprint, count }) => `${subscriber} ${fingerprint} ${count}`).sort()).toEqual([
      'a.b f 1',
      'x.y f 5',
      'x.y g 1',
      'x.y h 1',
      'x.y i 1',
    ]);
    expect(groups.find(({ count }) => count === 5)).toEqual({
      subscriber: 'x.y',
      event_name: 'nmc.telephony.CallDetected',
      reason: 'attempts_exhausted',
      fingerprint: 'f',
      count: 5,
      oldest_died_at: '2026-11-20T10:00:00.000Z',
      newest_died_at: '2026-11-21T10:00:00.000Z',
    });
    expect(await pages({ group: 'fingerprint', subscriber: 'a.b' })).toHaveLength(1);
  });

  it.each([
    ['a filter nobody has', { payload: 'x' }, ''],
    ['a tenant that is no id', { tenant_id: 'x' }, 'tenant_id'],
    ['an empty filter', { subscriber: '' }, 'subscriber'],
    ['a zero byte', { subscriber: 'a\0' }, 'subscriber'],
    ['no items at all', { limit: 0 }, 'limit'],
    ['too many items', { limit: 201 }, 'limit'],
    ['another grouping', { group: 'tenant' }, 'group'],
    ['a cursor of its own making', { cursor: 'abc' }, 'cursor'],
    [
      'a cursor that would not fit',
      { cursor: Buffer.from('["1","99999999999999999999"]').toString('base64url') },
      'cursor',
    ],
    [
      'a cursor of the other list',
      { group: 'fingerprint', cursor: Buffer.from('["1","2"]').toString('base64url') },
      'cursor',
    ],
  ])('refuses a list with %s', async (_what, query, field) => {
    const answer = await get(query).expect(400);
    expect(answer.body).toMatchObject({ code: 'request.invalid', problems: [{ field, message: expect.any(String) }] });
  });

  it.each<[string, unknown, string]>([
    ['nothing', undefined, ''],
    ['an empty scope', {}, ''],
    ['a list instead', [], ''],
    ['two scopes', { all: true, delivery_ids: ['1'] }, ''],
    ['all of a group', { all: true, group: { subscriber: 'x', fingerprint: 'f' } }, ''],
    ['not all', { all: false }, 'all'],
    ['all as text', { all: 'true' }, 'all'],
    ['no ids', { delivery_ids: [] }, 'delivery_ids'],
    ['an id as a number', { delivery_ids: [1] }, 'delivery_ids.0'],
    ['an id that is none', { delivery_ids: ['1; drop'] }, 'delivery_ids.0'],
    ['an id that is too large', { delivery_ids: ['9223372036854775808'] }, 'delivery_ids.0'],
    ['an id twice', { delivery_ids: ['1', '1'] }, 'delivery_ids'],
    ['more than a thousand ids', { delivery_ids: Array.from({ length: 1001 }, (_, n) => `${n + 1}`) }, 'delivery_ids'],
    ['half a group', { group: { subscriber: 'x' } }, 'group.fingerprint'],
    ['a misspelt group', { group: { subscriber: 'x', fingerprint: 'f', tenant: 'x' } }, 'group'],
    ['a misspelt field', { all: true, everything: true }, ''],
  ])('are not decided about with %s', async (_what, body, field) => {
    await die(2);
    for (const [action, more] of [
      ['retry', {}],
      ['discard', { reason: 'because' }],
    ] as const) {
      const sent = body && !Array.isArray(body) ? { ...body, ...more } : body;
      const answer = await post(action, sent).expect(400);
      expect(answer.body).toMatchObject({
        code: 'request.invalid',
        problems: [{ field, message: expect.any(String) }],
      });
    }
    expect((await get().expect(200)).body.items).toHaveLength(2);
  });

  it.each([
    ['retry', { rate_per_second: 0 }, 'rate_per_second'],
    ['retry', { rate_per_second: 101 }, 'rate_per_second'],
    ['retry', { rate_per_second: 0.5 }, 'rate_per_second'],
    ['discard', {}, 'reason'],
    ['discard', { reason: '' }, 'reason'],
    ['discard', { reason: '  ' }, 'reason'],
    ['discard', { reason: 'a\0b' }, 'reason'],
  ])('are not decided about: %s with %j', async (action, body, field) => {
    const answer = await post(action, { all: true, ...body }).expect(400);
    expect(answer.body.problems).toEqual([{ field, message: expect.any(String) }]);
  });

  it('are retried at ten a second unless told, and answer how it went', async () => {
    await die(3);
    const [, second = ''] = idsOf((await get().expect(200)).body.items);
    const one = await post('retry', { delivery_ids: [second, '123456789012'], rate_per_second: 1 }).expect(200);
    expect(one.body).toEqual({ retried: 1, not_found: 1, remaining: 0, last_due_at: expect.stringMatching(/Z$/) });
    const rest = await post('retry', { group: { subscriber: 'x.y', fingerprint: 'f' } }).expect(200);
    expect(rest.body).toMatchObject({ retried: 2, not_found: 0 });
    const spread = await app.row(
      `select extract(epoch from max(due_at) - min(due_at))::float8 as seconds from infra.outbox_deliveries
       where delivery_id <> $1`,
      [second],
    );
    expect(spread).toEqual({ seconds: 0.1 });
    expect((await post('retry', { all: true }).expect(200)).body).toEqual({
      retried: 0,
      not_found: 0,
      remaining: 0,
      last_due_at: null,
    });
  });

  it('are discarded with a reason, by name on record', async () => {
    await die(2);
    const answer = await post('discard', { all: true, reason: 'of a tenant that left' }).expect(200);
    expect(answer.body).toEqual({ discarded: 2, not_found: 0, remaining: 0 });
    expect((await get().expect(200)).body.items).toEqual([]);
    const audit = await app.row('select actor, action, detail from infra.audit_log order by audit_id desc limit 1');
    expect(audit).toMatchObject({
      actor: 'ops',
      action: 'dead_letters.discard',
      detail: { discarded: 2, discard_reason: 'of a tenant that left' },
    });
    await eventually(() => app.log.some(({ message, actor }) => message === 'done by hand' && actor === 'ops'), {
      label: 'it is logged',
    });
  });

  it('are handled by the commands of the runbook as they stand there', async () => {
    const runbook = readFileSync(new URL('../../../docs/runbooks/OutboxDeadLetters.md', import.meta.url), 'utf8');
    const command =
      /^curl -sS -u "\$OPS_USERNAME:\$OPS_PASSWORD" "\$PUBLIC_BASE_URL(\S+)"(?: \\\n {2}-H 'content-type: application\/json' -d '(.+)')?$/gm;
    const commands = [...runbook.matchAll(command)].map(([, path = '', body]) => ({ path, body }));
    expect(commands).toHaveLength(runbook.match(/^curl/gm)?.length ?? 0);
    nextId = 4711;
    await die(2);
    await die(1, { subscriber: 'conversation.first_reply', fingerprint: 'the-fingerprint' });
    const answers: unknown[] = [];
    for (const { path, body } of commands) {
      const request = body ? app.http.post(path).type('json').send(body) : app.http.get(path);
      answers.push((await request.auth('ops', 'ops').expect(200)).body);
    }
    expect(answers).toMatchObject([
      { items: [{ count: 1 }, { count: 2 }] },
      { items: [{ delivery_id: '4713' }] },
      { retried: 1, not_found: 0 },
      { retried: 1, not_found: 0 },
      { discarded: 1, not_found: 0 },
    ]);
  });
});

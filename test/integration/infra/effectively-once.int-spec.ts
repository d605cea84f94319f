import { DataSource } from 'typeorm';
import { errorCode } from '../../../src/common/errors/app-error.js';
import type { Config } from '../../../src/infra/config/config.js';
import { dataSourceOptions } from '../../../src/infra/database/data-source.js';
import { Database } from '../../../src/infra/database/database.js';
import { EffectivelyOnce } from '../../../src/infra/effects/effectively-once.js';
import { Snooze } from '../../../src/infra/outbox/outbox.errors.js';
import {
  CALENDAR_TABLES,
  type CalendarFault,
  CalendarServer,
  type CalendarWrite,
  CalendarWrites,
} from '../../support/calendar-effect.js';
import { cloneDatabase, type TestDatabase } from '../../support/database.js';
import { eventually } from '../../support/eventually.js';

let testDatabase: TestDatabase;
let source: DataSource;
let database: Database;
let calendar: CalendarServer;
/** Two processes with the same record. */
let effect: CalendarWrites;
let left: EffectivelyOnce<CalendarWrite, string>;
let right: typeof left;
let nextId = 0;

beforeAll(async () => {
  testDatabase = await cloneDatabase();
  source = new DataSource(dataSourceOptions({ databaseUrl: testDatabase.url, poolMax: 4 }));
  await source.initialize();
  database = new Database(source, { isPooled: false } as Config);
  await database.query(CALENDAR_TABLES);
  calendar = new CalendarServer();
  effect = new CalendarWrites(database, await calendar.start());
  left = new EffectivelyOnce(database, effect);
  right = new EffectivelyOnce(database, effect);
});
afterEach(() => {
  calendar.faults.length = 0;
  calendar.isBlind = false;
});
afterAll(async () => {
  effect.http.onApplicationShutdown();
  await calendar.stop();
  await source.destroy();
  await testDatabase.drop();
});

async function owedWrite(): Promise<string> {
  nextId += 1;
  await database.query('insert into calendar_writes (id) values ($1)', [`write-${nextId}`]);
  return `write-${nextId}`;
}

/** Performs until it is done or given up, as the outbox does; answers why it had to come back, or was given up. */
function perform(process: typeof left, id: string): Promise<string[]> {
  const reasons: string[] = [];
  return eventually(
    async () => {
      const error: unknown = await process.perform(id).catch((failure: unknown) => failure);
      if (error) reasons.push(error instanceof Snooze ? error.reason : errorCode(error));
      return error instanceof Snooze ? null : reasons;
    },
    { deadlineMs: 15_000, label: 'the write is settled' },
  );
}

const entries = (id: string) => calendar.ledger.filter(({ note }) => note === id);
const state = async (id: string) => {
  const columns = 'phase, event_id, failure from calendar_writes where id = $1';
  return (await database.query<{ event_id: string; phase: string; failure: string }>(`select ${columns}`, [id]))[0];
};
async function attempts(id: string): Promise<string[]> {
  const rows = await database.query<{ outcome: string; resend: boolean }>(
    'select outcome, resend from calendar_attempts where id = $1 order by attempt',
    [id],
  );
  return rows.map(({ outcome, resend }) => (resend ? `resend ${outcome}` : outcome));
}

describe('one entry, whatever happens to the request for it', () => {
  it.each<[CalendarFault | undefined, string[]]>([
    [undefined, ['accepted']],
    [429, ['not_processed', 'accepted']],
    ['hang', ['unknown', 'resend accepted']],
    ['hang_accepted', ['accepted']],
    ['reset', ['unknown', 'resend accepted']],
    ['reset_accepted', ['accepted']],
    [500, ['unknown', 'resend accepted']],
    ['500_accepted', ['accepted']],
  ])('%s', async (fault, expected) => {
    if (fault) calendar.faults.push(fault);
    const id = await owedWrite();
    await perform(left, id);
    expect(entries(id)).toHaveLength(1);
    expect(await attempts(id)).toEqual(expected);
    expect(await state(id)).toMatchObject({ phase: 'settled', event_id: entries(id)[0]?.id, failure: null });
    const { requests } = calendar;
    await perform(right, id);
    expect(calendar.requests).toBe(requests);
  });

  it('asked for by two processes at once', async () => {
    const id = await owedWrite();
    const { requests } = calendar;
    await Promise.all([perform(left, id), perform(right, id)]);
    expect(calendar.requests).toBe(requests + 1);
    expect(await attempts(id)).toEqual(['accepted']);
  });
});

describe('no entry', () => {
  it('where the provider says no: once, and for good', async () => {
    calendar.faults.push(409);
    const id = await owedWrite();
    expect(await perform(left, id)).toEqual([]);
    expect(await state(id)).toMatchObject({ phase: 'settled', failure: 'conflict', event_id: null });
    expect(await attempts(id)).toEqual(['refused']);
    expect(entries(id)).toEqual([]);
  });

  it.each([
    ['cancelled', `wanted = false`],
    ['too_late', `due_at = now() - interval '1 hour'`],
  ])('and no request when it is %s', async (failure, change) => {
    const id = await owedWrite();
    const { requests } = calendar;
    await database.query(`update calendar_writes set ${change} where id = $1`, [id]);
    await perform(left, id);
    expect(await state(id)).toMatchObject({ phase: 'settled', failure });
    expect(calendar.requests).toBe(requests);
    expect(await attempts(id)).toEqual([]);
  });
});

describe('a process that dies or freezes', () => {
  it('after its marker: what it may have asked for is looked for, and asked for as a resend', async () => {
    const id = await owedWrite();
    const intent = await effect.read(id);
    await database.transaction((tx) => effect.mark(tx, intent, false));
    expect(new Set(await perform(right, id))).toEqual(new Set(['reconciling']));
    expect(await attempts(id)).toEqual(['open', 'resend accepted']);
    expect(entries(id)).toHaveLength(1);
  });

  it('around its marker: does not ask', async () => {
    const id = await owedWrite();
    const { requests } = calendar;
    effect.staleMarkerMs = -1;
    await expect(left.perform(id)).rejects.toThrow('provider_not_accepting');
    effect.staleMarkerMs = 5_000;
    expect(calendar.requests).toBe(requests);
    await perform(left, id);
    expect(await attempts(id)).toEqual(['not_processed', 'accepted']);
  });
});

describe('when every look finds nothing', () => {
  it('a person has to look after as many resends as are allowed; a redrive looks again and asks once more', async () => {
    calendar.faults.push(500, 500);
    const id = await owedWrite();
    expect((await perform(left, id)).at(-1)).toBe('scheduling.needs_review');
    expect(await state(id)).toMatchObject({ phase: 'needs_review' });
    await perform(left, id);
    expect(await attempts(id)).toEqual(['unknown', 'resend unknown', 'resend accepted']);
    expect(entries(id)).toHaveLength(1);
  });

  it('although it was there: the number of doubles is the number of flagged resends', async () => {
    calendar.isBlind = true;
    calendar.faults.push('reset_accepted');
    const id = await owedWrite();
    await perform(left, id);
    expect(await attempts(id)).toEqual(['unknown', 'resend accepted']);
    expect(entries(id)).toHaveLength(2);
  });
});

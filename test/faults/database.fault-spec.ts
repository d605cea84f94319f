import { execFile } from 'node:child_process';
import { stat } from 'node:fs/promises';
import { setTimeout as pause } from 'node:timers/promises';
import { promisify } from 'node:util';
import { eventually } from '../support/eventually.js';
import type { OwnPostgres } from '../support/own-postgres.js';
import { Seeded } from '../support/seeded.js';
import { killAllSpawned } from '../support/spawned-app.js';
import { FORM } from './form.js';
import { Load } from './load.js';
import { BUSINESS, World } from './world.js';

/** The database pool waits 3 s for a connection, a handler is tried six times: both budgets are spent in this time. */
const OUTAGE_MS = FORM.isLong ? 90_000 : 8_000;

let world: World;
let postgres: OwnPostgres;
const random = new Seeded(FORM.seed);
let loads = 0;
const load = (callers: number) => {
  loads += 1;
  return new Load(world, FORM.seed + 100 * loads, { callers, repeats: 25, firstLine: 2 * (loads - 1) });
};
beforeAll(async () => {
  world = await World.start({ ownPostgres: true, env: { LOG_LEVEL: 'info' } });
  if (!world.postgres) throw new Error('it has no server of its own');
  postgres = world.postgres;
}, 90_000);
afterAll(async () => {
  await world.stop();
  await killAllSpawned();
});

const textsAreOut = (more: number) => {
  const enough = world.twilio.ledger.messages.length + more;
  return eventually(() => world.twilio.ledger.messages.length >= enough, {
    deadlineMs: 60_000,
    label: `${more} more texts`,
  });
};

describe('row 5, row 7: Postgres crashes under load', () => {
  it('and again, and then for longer than any patience: nothing is lost, nothing run twice, and nobody needs a restart', async () => {
    const calling = load(2);
    for (const outageMs of [0, random.between(200, 1_000), OUTAGE_MS]) {
      await textsAreOut(10);
      await postgres.crash();
      await pause(outageMs);
      await postgres.launch();
    }
    await textsAreOut(10);
    await calling.end();
    expect(await world.verdict()).toEqual([]);
    expect(world.members.map(({ app }) => [app?.exit, app?.stderr])).toEqual([
      [undefined, ''],
      [undefined, ''],
    ]);
    for (const { running } of world.members) {
      // One line for each change, however often it was tried: of three outages.
      expect(running.lines.filter((line) => line.includes('outbox dispatcher has no session')).length).toBeLessThan(8);
    }
    const lines = world.members
      .flatMap(({ running }) => running.lines)
      .filter((line) => line.includes('"event handled"'));
    const handled = lines.map((line) => JSON.parse(line).outbox_id);
    expect(handled.length).toBeGreaterThan(50);
    expect(handled.filter((id, n) => handled.indexOf(id) !== n)).toEqual([]);
  }, 240_000);
});

describe('row 6: connections that the server ends at random', () => {
  it('cost time, and no process and no text', async () => {
    const calling = load(2);
    let ended = 0;
    for (let n = 0; n < (FORM.isLong ? 300 : 40); n += 1) {
      ended += await world.terminateBackends(1);
      await pause(random.between(20, 180));
    }
    await calling.end();
    expect(ended).toBeGreaterThan(30);
    expect(await world.verdict()).toEqual([]);
    expect(world.members.map(({ app }) => [app?.exit, app?.stderr])).toEqual([
      [undefined, ''],
      [undefined, ''],
    ]);
  }, 180_000);
});

describe('row 19: a volume that is full', () => {
  /** Like a full disk, for files beyond the size of a piece of the write-ahead log, and without being root. */
  const allowFiles = async (bytes: number | 'unlimited') => {
    const server = await postgres.pid();
    const { uid, gid } = await stat(`/proc/${server}`);
    const owner = { uid, gid };
    const { rows } = await world.db.query<{ pid: number }>('select pid from pg_stat_activity');
    for (const pid of new Set([server, ...rows.map((row) => row.pid)])) {
      // As the server's own user: even root may lack the right to limit somebody else's processes.
      await promisify(execFile)('prlimit', [`--pid=${pid}`, `--fsize=${bytes}:unlimited`], owner).catch(
        (error: Error) => {
          // A backend may have ended since it was listed.
          if (!/No such process/.test(error.message)) throw error;
        },
      );
    }
  };
  const WAL_PIECE = 16 * 1024 * 1024;

  it('makes webhooks 503, loses nothing acknowledged, and everything is made up for when there is room', async () => {
    // The table that every webhook is written to first, with no room left in it.
    await world.db.query(`alter table telephony.webhook_events alter column answer set storage plain`);
    await world.db.query(
      `insert into telephony.webhook_events (provider, dedupe_key, endpoint, correlation_id, parameters, answer)
       select 'filling', n, '', gen_random_uuid(), '{}', repeat('x', 8000) from generate_series(1, 2100) n`,
    );
    await allowFiles(WAL_PIECE);
    const caller = (n: number) => `+1425700${String(n).padStart(4, '0')}`;
    let calls = 0;
    const refused = await eventually(
      async () => {
        const callSid = `CB${String(calls).padStart(32, '0')}`;
        const { status } = await world.twilio.placeCall({ from: caller(calls), to: BUSINESS, callSid });
        world.placed.push({ callSid, caller: caller(calls), acknowledged: status === 200 });
        calls += 1;
        return status === 200 ? null : { status, callSid, caller: caller(calls - 1) };
      },
      { deadlineMs: 30_000, label: 'the volume is full' },
    );
    expect(refused.status).toBe(503);
    await allowFiles('unlimited');
    const repeated = await world.twilio.placeCall({
      ...{ from: refused.caller, to: BUSINESS, callSid: refused.callSid, withRetries: 20 },
    });
    expect(repeated.status).toBe(200);
    expect(await world.verdict()).toEqual([]);
    expect(world.twilio.ledger.messagesTo(refused.caller)).toHaveLength(1);
  }, 120_000);
});

import { jest } from '@jest/globals';
import { Claims } from '../../../src/infra/outbox/claims.js';
import { CLAIM } from '../../../src/infra/outbox/deliveries.queries.js';
import { NOTIFY } from '../../../src/infra/outbox/outbox-session.js';
import { eventually } from '../../support/eventually.js';
import { OutboxHarness, type OutboxProcess } from '../../support/outbox-harness.js';

const FINISHED = 3_000;

/** Blocks that one claim touches which begins at `floor`, in microseconds. */
async function blocksRead(outbox: OutboxHarness, floor: number): Promise<number> {
  const client = await outbox.db.connect();
  try {
    await client.query('begin; set local enable_seqscan = off; set local jit = off');
    const { rows } = await client.query(`explain (analyze, buffers, format json) ${CLAIM}`, [
      1,
      15_000,
      100,
      [],
      [],
      floor,
      '0',
    ]);
    const { Plan } = rows[0]['QUERY PLAN'][0];
    return Plan['Shared Hit Blocks'] + Plan['Shared Read Blocks'];
  } finally {
    await client.query('rollback');
    client.release();
  }
}

describe('a snapshot that somebody holds', () => {
  let outbox: OutboxHarness;
  let app: OutboxProcess;
  beforeAll(async () => {
    outbox = await OutboxHarness.start();
    app = await outbox.process('all', { OUTBOX_POLL_MS: '100' });
  });
  afterAll(() => outbox.stop());

  it('does not make claims read what is finished', async () => {
    const report = await outbox.db.connect();
    try {
      await report.query('begin isolation level repeatable read');
      await report.query('select count(*) from infra.outbox_deliveries');
      await outbox.insertRows(FINISHED, { keyPrefix: 'finished' });
      await outbox.drained(20_000);
      await outbox.insertRows(1, { keyPrefix: 'next', available: 'now()' });
      await eventually(() => app.handlers.ends.some(({ key }) => key === 'next0'), {
        label: 'the next row is handled',
      });
      const recently = (Date.now() - 1_000) * 1_000;
      const [fromFloor, fromFront] = [await blocksRead(outbox, recently), await blocksRead(outbox, 0)];
      expect(fromFront).toBeGreaterThan(FINISHED / 50);
      expect(fromFloor).toBeLessThan(fromFront / 3);
      expect(app.lines('fails')).toEqual([]);
    } finally {
      await report.query('rollback');
      report.release();
    }
  });

  it('finds what committed late, behind the floor', async () => {
    await outbox.insertRows(200, { keyPrefix: 'before' });
    await outbox.drained();
    await outbox.insertRows(1, { keyPrefix: 'late', available: "now() - interval '1 hour'" });
    await eventually(() => app.handlers.ends.some(({ key }) => key === 'late0'), { label: 'the late row is handled' });
  });

  it('finds what committed late at once when it is told, whatever else it then finds', async () => {
    const regular = jest.spyOn(Claims.prototype, 'discover').mockResolvedValue(false);
    try {
      for (const [round, waited] of [[1_500], [1_500, 200, 0]].entries()) {
        await outbox.insertRows(1, { keyPrefix: `passed${round}`, available: 'now()' });
        await outbox.drained();
        for (const ms of waited) {
          await outbox.insertRows(1, { keyPrefix: `late${round}-${ms}-`, available: `now() - interval '${ms} ms'` });
        }
        await eventually(
          async () => {
            await outbox.db.query(NOTIFY);
            return (await outbox.count('infra.outbox_deliveries')) === 0;
          },
          { label: 'late rows are handled' },
        );
      }
    } finally {
      regular.mockRestore();
    }
  });

  it('finds what committed seconds late at once, even where a look from the very front takes its time', async () => {
    const lock = await outbox.db.connect();
    await lock.query('begin; lock table infra.outbox_deliveries in access exclusive mode');
    const looks = "pg_stat_activity where wait_event_type = 'Lock' and query like '%looked_at%'";
    await eventually(async () => (await outbox.count(looks)) > 0, { label: 'a look waits' });
    // A look may take a twentieth of the time: the next one from the front is half a minute away.
    await lock.query('select pg_sleep(1.5)');
    await lock.query('commit');
    lock.release();
    await eventually(async () => (await outbox.count(looks)) === 0, { label: 'the look is over' });
    await outbox.insertRows(1, { keyPrefix: 'after', available: 'now()' });
    await eventually(() => app.handlers.ends.some(({ key }) => key === 'after0'), { label: 'the floor is past it' });
    await outbox.insertRows(1, { keyPrefix: 'slow', available: "now() - interval '5 seconds'" });
    await eventually(() => app.handlers.ends.some(({ key }) => key === 'slow0'), {
      deadlineMs: 5_000,
      label: 'the late row is handled',
    });
  });
});

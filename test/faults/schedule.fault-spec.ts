import { setTimeout as pause } from 'node:timers/promises';
import { Seeded } from '../support/seeded.js';
import { killAllSpawned } from '../support/spawned-app.js';
import { FORM, Journal } from './form.js';
import { Load } from './load.js';
import { FAULTS } from './schedule.js';
import { World } from './world.js';

/** No fault of the short form outlasts a lease; in the long form some do, and outlast every retry. */
const MOST_MS = FORM.isLong ? 25_000 : 2_500;
const chosen = FAULTS.filter(({ row }) => FORM.rows?.includes(row) ?? true);
const faults = chosen.length > 0 ? chosen : FAULTS;

let world: World;
beforeAll(async () => {
  world = await World.start({ ownPostgres: true });
}, 90_000);
afterAll(async () => {
  await world.stop();
  await killAllSpawned();
});

describe(`a random schedule of faults (FAULTS_SEED=${FORM.seed})`, () => {
  it(
    'loses nothing, sends nothing twice and keeps the order',
    async () => {
      const [random, journal] = [new Seeded(FORM.seed), new Journal()];
      const load = new Load(world, FORM.seed, { callers: 4, repeats: 25, faults: 10 });
      const until = performance.now() + FORM.scheduleMs;
      while (performance.now() < until) {
        const { row, what, run } = random.pick(faults);
        journal.note(`row ${row}: ${what}`);
        journal.note(`row ${row}: ${what}: over; ${await run(world, random, MOST_MS)}`);
        await pause(random.between(100, 1_000));
      }
      await Promise.all(world.members.map((member) => member.ready()));
      await load.end();
      const violations = await world.verdict();
      journal.note(`${world.placed.length} calls, ${world.twilio.ledger.messages.length} texts`);
      expect({ violations, journal: journal.lines }).toEqual({ violations: [], journal: journal.lines });
      expect(world.twilio.ledger.messages.length).toBeGreaterThan(0);
    },
    FORM.scheduleMs + 240_000,
  );
});

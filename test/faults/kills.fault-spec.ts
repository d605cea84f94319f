import { Seeded } from '../support/seeded.js';
import { killAllSpawned } from '../support/spawned-app.js';
import { FORM, Journal } from './form.js';
import { Gates } from './gates.js';
import { STEPS } from './kills.js';
import { Load } from './load.js';
import { World } from './world.js';

const KILL_MS = 45_000;
const steps = Object.entries(STEPS);
const kills = Math.max(FORM.kills, steps.length);

let world: World;
let gates: Gates;
beforeAll(async () => {
  world = await World.start({ ownPostgres: FORM.isLong });
  gates = await Gates.install(world);
}, 90_000);
afterAll(async () => {
  await gates.stop();
  await world.stop();
  await killAllSpawned();
});

describe(`row 1, row 2: ${kills} kills over every step of a send (FAULTS_SEED=${FORM.seed})`, () => {
  it(
    'lose nothing, send nothing twice and keep the order, and every ambiguous call is accounted for',
    async () => {
      const [random, journal] = [new Seeded(FORM.seed), new Journal()];
      const load = new Load(world, FORM.seed, { callers: 4, repeats: 25 });
      const hit = new Map<string, number>();
      for (let n = 0; n < kills; n += 1) {
        const [step, kill] = steps[n] ?? random.pick(steps);
        const victim = await kill(world, gates, random);
        hit.set(step, (hit.get(step) ?? 0) + 1);
        journal.note(`${victim.name} killed ${step}`);
        await victim.start();
      }
      await load.end();
      const violations = await world.verdict();
      const { intents, attempts, texts } = await world.evidence();
      const lost = attempts.filter(({ outcome }) => outcome === 'submitting').length;
      journal.note(`${intents.length} texts, ${texts.length} in the ledger, ${lost} requests never answered nor found`);
      expect({ violations, journal: journal.lines }).toEqual({ violations: [], journal: journal.lines });
      expect([...hit.keys()].sort()).toEqual(Object.keys(STEPS).sort());
      // Every step was hit in earnest: some requests were sent again, on the record.
      expect(attempts.filter(({ resend }) => resend).length).toBeGreaterThan(0);
    },
    120_000 + kills * KILL_MS,
  );
});

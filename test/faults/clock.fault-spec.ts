import { killAllSpawned } from '../support/spawned-app.js';
import { FORM } from './form.js';
import { Load } from './load.js';
import { World } from './world.js';

const TEN_MINUTES_MS = 600_000;
const clock = (skew: string) => [new URL(`./skewed-clock.mjs?skew=${skew}`, import.meta.url).href];

let world: World;
beforeAll(async () => {
  world = await World.start({
    env: { LOG_LEVEL: 'info' },
    preload: [clock(`${TEN_MINUTES_MS}`), clock(`${-TEN_MINUTES_MS},${TEN_MINUTES_MS},700`)],
  });
}, 90_000);
afterAll(async () => {
  await world.stop();
  await killAllSpawned();
});

describe('row 14: processes whose clocks are ten minutes off, one of them jumping to and fro', () => {
  it('lease, wait, look for lost answers and take over as if their clocks were right', async () => {
    const [first] = world.members;
    const load = new Load(world, FORM.seed, { callers: 3, repeats: 30 });
    for (let n = 0; n < 6; n += 1)
      world.twilio.faults.next('lost_response').next({ kind: 'status_429', retryAfterSeconds: 1 });
    await load.calls(20);
    await first?.running.kill('SIGKILL');
    await first?.start();
    await load.calls(20);
    await load.end();
    expect(await world.verdict()).toEqual([]);
    // They really are off: what is logged is stamped by the process.
    for (const { running } of world.members) {
      const stamps = running.lines.flatMap((line) => stampOf(line) ?? []);
      expect(stamps.some((at) => Math.abs(at - Date.now()) > TEN_MINUTES_MS / 2)).toBe(true);
    }
    // And the promise is measured by the database's clock alone.
    const { rows } = await world.db.query(
      `select count(*)::int as count from telephony.messages
       where accepted_at is null or accepted_at - triggered_at not between interval '0' and interval '60 seconds'`,
    );
    expect(rows).toEqual([{ count: 0 }]);
  }, 120_000);
});

function stampOf(line: string): number | undefined {
  const { timestamp } = JSON.parse(line) as { timestamp?: string };
  return timestamp === undefined ? undefined : Date.parse(timestamp);
}

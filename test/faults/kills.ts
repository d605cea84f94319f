import { eventually } from '../support/eventually.js';
import type { Seeded } from '../support/seeded.js';
import type { ClosedGate, GateName, Gates } from './gates.js';
import type { Member, World } from './world.js';

/** Kills the process that does the step, and leaves the deployment without it. */
type Kill = (world: World, gates: Gates, random: Seeded) => Promise<Member>;

async function killAtGate(gate: ClosedGate, afterwards: (victim: Member) => Promise<unknown>): Promise<Member> {
  try {
    const victim = await gate.caught();
    await victim.running.kill('SIGKILL');
    await afterwards(victim);
    return victim;
  } finally {
    await gate.open();
  }
}

/** What the victim was about to do never happens. */
const undone =
  (name: GateName): Kill =>
  async (_world, gates) => {
    const gate = await gates.close(name);
    return killAtGate(gate, (victim) => gate.abandon(victim));
  };
/** The server still does what the victim had asked for, and nobody hears of it. */
const doneUnheard =
  (name: GateName): Kill =>
  async (_world, gates) =>
    killAtGate(await gates.close(name), async () => undefined);

const midRequest =
  (direction: 'up' | 'down'): Kill =>
  async (world, _gates, random) => {
    const victim = random.pick(world.members);
    victim.provider.swallow([direction]);
    try {
      await eventually(() => victim.provider.swallowed(direction) > 0, {
        deadlineMs: 20_000,
        label: 'a request is under way',
      });
      await victim.running.kill('SIGKILL');
    } finally {
      victim.provider.heal();
    }
    return victim;
  };

/** Every step of a send; the ones whose texts are only known to be absent after 20 s first. */
export const STEPS: Readonly<Record<string, Kill>> = {
  'after the marker is committed': doneUnheard('marked'),
  'before the request arrives': midRequest('up'),
  'before the answer arrives': midRequest('down'),
  'when its handler has begun': undone('started'),
  'while the marker is written': undone('marking'),
  'while the marker is committed': undone('marked'),
  'after the answer, before it is written': undone('answered'),
  'while the completion is written': undone('completing'),
  'after the completion is written': doneUnheard('completing'),
};

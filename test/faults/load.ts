import { setTimeout as pause } from 'node:timers/promises';
import type { CreateFault, FaultSpec } from '../../src/demo/simulators/twilio/faults.js';
import { eventually } from '../support/eventually.js';
import { Seeded } from '../support/seeded.js';
import type { World } from './world.js';

/** What a provider does on a bad day. Those that leave nothing to be found cost a text 20 s. */
const BAD_DAY: readonly FaultSpec<CreateFault>[] = [
  'lost_response',
  'truncated',
  'garbage',
  'status_500_accepted',
  { kind: 'status_429', retryAfterSeconds: 1 },
  { kind: 'latency', ms: 1_500 },
  'hang_accepted',
  'status_503',
  'reset',
];

export interface LoadOptions {
  /** Callers at a time, each placing one call after the other. */
  callers?: number;
  /** The first of their telephone lines (0); of two loads in one world each has its own. */
  firstLine?: number;
  /** Mean pause of each caller between two calls, in ms. */
  pauseMs?: number;
  /** Of a hundred calls so many are repeated by an earlier caller: a second text in the same conversation. */
  repeats?: number;
  /** Of a hundred calls so many hit a fault of the provider. */
  faults?: number;
}

/** Callers who keep calling until the load is ended. */
export class Load {
  private wanted = true;
  private readonly callers: Promise<unknown>;

  constructor(
    private readonly world: World,
    seed: number,
    { callers = 4, firstLine = 0, pauseMs = 60, repeats = 20, faults = 0 }: LoadOptions = {},
  ) {
    this.callers = Promise.all(
      Array.from({ length: callers }, (_, n) =>
        this.keepCalling(firstLine + n, new Seeded(seed + n), { pauseMs, repeats, faults }),
      ),
    );
  }

  /** Waits until so many more calls are acknowledged. */
  async calls(more: number, deadlineMs = 60_000): Promise<void> {
    const count = () => this.world.placed.filter(({ acknowledged }) => acknowledged).length;
    const enough = count() + more;
    await eventually(() => count() >= enough, { deadlineMs, label: `${more} more calls` });
  }

  /** Places no more calls; resolves when every one that was placed is acknowledged. */
  async end(): Promise<void> {
    this.wanted = false;
    await this.callers;
  }

  private async keepCalling(
    line: number,
    random: Seeded,
    { pauseMs, repeats, faults }: Required<Omit<LoadOptions, 'callers' | 'firstLine'>>,
  ) {
    const own: string[] = [];
    while (this.wanted) {
      const isRepeat = own.length > 0 && random.percent(repeats);
      const caller = isRepeat ? random.pick(own) : `+1415${2 + line}${String(own.length).padStart(6, '0')}`;
      if (!isRepeat) own.push(caller);
      this.afflict(caller, random, faults);
      await this.world.call(caller);
      await pause(random.between(0, 2 * pauseMs));
    }
  }

  private afflict(caller: string, random: Seeded, faults: number): void {
    const { faults: script } = this.world.twilio;
    if (random.percent(faults)) script.next(random.pick(BAD_DAY), { to: caller });
    else script.next({ kind: 'latency', ms: random.between(0, 150) }, { to: caller });
    if (!random.percent(faults)) return;
    script.nextCallback(random.pick(['drop', 'duplicate', 'reorder', 'early'] as const), { to: caller });
  }
}

import fc from 'fast-check';
import pg from 'pg';
import { cloneDatabase, type TestDatabase } from '../support/database.js';
import { DeliverySql, type Held, type Session } from './delivery-sql.js';
import { FORM } from './form.js';
import { byId, type ModelProcess, OutboxModel } from './outbox-model.js';

const LANES = ['a', 'b', 'c'];
const PROCESSES = [0, 1] as const;
const RUNS = FORM.isLong ? 2_000 : 20;

let database: TestDatabase;
let db: pg.Pool;
let sql: DeliverySql;
beforeAll(async () => {
  database = await cloneDatabase();
  db = new pg.Pool({ connectionString: database.url, max: 2 });
  sql = new DeliverySql(db, database.url);
});
afterAll(async () => {
  await sql.reset();
  await db.end();
  await database.drop();
});

/** The database, and the sessions of its processes. */
interface Real {
  sessions: Map<number, Session>;
  fences: Map<string, number>;
}
type Step = (model: OutboxModel, real: Real) => Promise<void>;

/** A step, and afterwards the comparison of all that there is. */
class Command implements fc.AsyncCommand<OutboxModel, Real> {
  constructor(
    private readonly name: string,
    private readonly possible: (model: OutboxModel) => boolean,
    private readonly step: Step,
    private readonly waitsForDisk = true,
  ) {}

  check(model: Readonly<OutboxModel>): boolean {
    return this.possible(model as OutboxModel);
  }

  async run(model: OutboxModel, real: Real): Promise<void> {
    await this.step(model, real);
    if (this.waitsForDisk) model.flush();
    const table = await sql.table();
    expect(table).toEqual(model.table());
    const gone = await sql.gone();
    expect(gone).toEqual({ done: sorted(model.done), dead: sorted(model.dead) });
    for (const { id, fence } of table) {
      expect(fence).toBeGreaterThanOrEqual(real.fences.get(id) ?? 0);
      real.fences.set(id, fence);
    }
    // Nothing lost, nothing in two places.
    const everywhere = [...table.map(({ id }) => id), ...gone.done, ...gone.dead].sort();
    expect(everywhere).toEqual([...real.fences.keys()].sort());
    const running = table.filter(({ isLeased }) => isLeased).map(({ lane }) => lane);
    expect(new Set(running).size).toBe(running.length);
  }

  toString(): string {
    return this.name;
  }
}

const sorted = (ids: readonly string[]) =>
  ids
    .map((id) => ({ id }))
    .sort(byId)
    .map(({ id }) => id);

/** A command of one process, possible while it is there; `needsHeld`: while it holds something. */
function ofProcess(
  name: string,
  process: number,
  needs: 'session' | 'held',
  step: (it: ModelProcess, model: OutboxModel, real: Real) => Promise<void>,
  waitsForDisk = true,
) {
  const possible = ({ processes }: OutboxModel) => {
    const it = processes.get(process);
    return needs === 'held' ? (it?.held.length ?? 0) > 0 : it?.isAlive === true;
  };
  const stepOf: Step = async (model, real) => {
    const it = model.processes.get(process);
    if (it) await step(it, model, real);
  };
  return new Command(`${name} (process ${process})`, possible, stepOf, waitsForDisk);
}

/** Ends what is held, whichever process thinks it holds it: also one whose rows are others' by now. */
function ending(name: string, write: (held: Held, model: OutboxModel) => Promise<{ real: boolean; model: boolean }>) {
  return (process: number, pick: number) =>
    ofProcess(name, process, 'held', async (it, model) => {
      const [held] = it.held.splice(pick % it.held.length, 1);
      if (!held) return;
      const wrote = await write(held, model);
      expect(wrote.real).toBe(wrote.model);
    });
}

async function claimFor(it: ModelProcess, model: OutboxModel, limit: number): Promise<void> {
  const claimed = (await sql.claim(it.instance, limit)).sort(byId);
  expect(claimed).toEqual(model.claim(it.instance, limit));
  it.held.push(...claimed);
}

async function comeBack(process: number, model: OutboxModel, real: Real): Promise<void> {
  const it = model.processes.get(process);
  if (!it) return;
  const session = await sql.begin();
  real.sessions.set(process, session);
  model.registered.add(session.instance);
  const adopted = (await sql.adopt(it.instance, session.instance, it.held)).sort(byId);
  expect(adopted).toEqual(model.adopt(it.instance, session.instance, it.held));
  const kept = it.held.filter((held) => adopted.some(({ id, fence }) => id === held.id && fence === held.fence));
  model.processes.set(process, { instance: session.instance, isAlive: true, held: kept });
}

const commands = {
  begin: (process: number) =>
    new Command(
      `begin (process ${process})`,
      ({ processes }) => !processes.has(process),
      async (model, real) => {
        const session = await sql.begin();
        real.sessions.set(process, session);
        model.registered.add(session.instance);
        model.processes.set(process, { instance: session.instance, isAlive: true, held: [] });
      },
    ),
  publish: (lane: string, process: number, isLater: boolean) =>
    new Command(
      `publish in ${lane}${isLater ? ', for later' : ''} (process ${process})`,
      () => true,
      async (model, real) => {
        const it = model.processes.get(process);
        const published = await sql.publish(lane, it?.instance, isLater);
        const expected = it && !isLater && model.isFree(lane) ? it.instance : null;
        expect(published.owner).toBe(expected);
        model.publish(published.id, lane, published.owner, isLater);
        real.fences.set(published.id, 0);
        if (expected !== null) it?.held.push({ id: published.id, fence: 0 });
      },
    ),
  claim: (process: number, limit: number) =>
    ofProcess(`claim ${limit}`, process, 'session', (it, model) => claimFor(it, model, limit), false),
  complete: ending('complete', async (held, model) => ({
    real: await sql.complete(held),
    model: model.leave(held, 'done'),
  })),
  bury: ending('bury', async (held, model) => ({ real: await sql.bury(held), model: model.leave(held, 'dead') })),
  fail: ending('fail', async (held, model) => ({
    ...{ real: await sql.reschedule(held, true, 1), model: model.reschedule(held, true, 1) },
  })),
  snooze: ending('snooze', async (held, model) => ({
    ...{ real: await sql.reschedule(held, false, 0), model: model.reschedule(held, false, 0) },
  })),
  renew: (process: number) =>
    ofProcess(
      'renew',
      process,
      'session',
      async (it, model) => {
        await sql.renew(it.instance, it.held);
        model.renew(it.instance, it.held);
        expect(sorted(await sql.owned(it.instance))).toEqual(model.owned(it.instance));
      },
      false,
    ),
  release: (process: number) =>
    ofProcess('release', process, 'held', async (it, model) => {
      await sql.release(it.instance, it.held);
      model.release(it.instance, it.held.splice(0));
    }),
  /** The session is gone; the process and what it holds are not. */
  disconnect: (process: number) =>
    ofProcess('disconnect', process, 'session', async (it, _model, real) => {
      const session = real.sessions.get(process);
      if (session) await sql.end(session);
      it.isAlive = false;
    }),
  reconnect: (process: number) =>
    new Command(
      `reconnect (process ${process})`,
      ({ processes }) => processes.get(process)?.isAlive === false,
      (model, real) => comeBack(process, model, real),
    ),
  crash: (process: number) =>
    ofProcess('crash', process, 'session', async (_it, model, real) => {
      const session = real.sessions.get(process);
      if (session) await sql.end(session);
      model.processes.delete(process);
    }),
  rescue: (process: number) =>
    ofProcess('rescue', process, 'session', async (it, model) => {
      await sql.rescue(it.instance);
      model.rescue(it.instance);
    }),
  orphans: () =>
    new Command(
      'free orphans',
      () => true,
      async (model) => {
        await sql.releaseOrphans();
        model.releaseOrphans();
      },
    ),
  expire: (process: number) =>
    ofProcess('leases expire', process, 'session', async (it, model) => {
      await sql.expire(it.instance);
      model.expire(it.instance);
    }),
  /** Somebody slow: what it holds is another's before it is done with it. */
  overtake: (slow: number, fast: number) =>
    ofProcess(
      `overtake process ${slow}`,
      fast,
      'session',
      async (it, model) => {
        const other = model.processes.get(slow);
        if (!other || other === it) return;
        await sql.expire(other.instance);
        model.expire(other.instance);
        model.flush();
        await claimFor(it, model, 4);
      },
      false,
    ),
  /** All sessions are gone, and so are the claims that were not on disk; the processes and what they hold are not. */
  serverCrash: (back: readonly number[] = []) =>
    new Command(
      `the server crashes${back.map((process) => `, process ${process} comes back`).join('')}`,
      () => true,
      async (model, real) => {
        for (const [process, it] of model.processes) {
          const session = real.sessions.get(process);
          if (it.isAlive && session) await sql.end(session);
          it.isAlive = false;
        }
        const forgotten = model.forget();
        await sql.forget(forgotten);
        for (const { id, fence } of forgotten) real.fences.set(id, fence);
        for (const process of back) await comeBack(process, model, real);
      },
    ),
  ripen: () =>
    new Command(
      'time passes',
      () => true,
      async (model) => {
        await sql.ripen();
        model.ripen();
      },
    ),
};

const process = fc.constantFrom(...PROCESSES);
const pick = fc.nat(5);
const anyCommand = [
  ...[1, 2, 3, 4, 5].map(() => fc.tuple(process, process).map(([slow, fast]) => commands.overtake(slow, fast))),
  ...[1, 2].map(() =>
    fc.tuple(process, fc.integer({ min: 1, max: 4 })).map(([by, limit]) => commands.claim(by, limit)),
  ),
  ...[1, 2, 3, 4].map(() => fc.tuple(process, pick).map(([by, which]) => commands.complete(by, which))),
  process.map(commands.begin),
  fc
    .tuple(fc.constantFrom(...LANES), process, fc.boolean())
    .map(([lane, by, later]) => commands.publish(lane, by, later)),
  fc.tuple(fc.constantFrom(...LANES), process).map(([lane, by]) => commands.publish(lane, by, false)),
  fc.tuple(process, fc.integer({ min: 1, max: 4 })).map(([by, limit]) => commands.claim(by, limit)),
  fc.tuple(process, pick).map(([by, which]) => commands.complete(by, which)),
  fc.tuple(process, pick).map(([by, which]) => commands.fail(by, which)),
  fc.tuple(process, pick).map(([by, which]) => commands.snooze(by, which)),
  fc.tuple(process, pick).map(([by, which]) => commands.bury(by, which)),
  process.map(commands.renew),
  process.map(commands.release),
  process.map(commands.disconnect),
  process.map(commands.reconnect),
  process.map(commands.crash),
  fc.shuffledSubarray([...PROCESSES], { minLength: 2 }).map(commands.serverCrash),
  process.map(commands.rescue),
  fc.constant(undefined).map(commands.orphans),
  process.map(commands.expire),
  fc.constant(undefined).map(commands.ripen),
];

const anyHistory = fc.asyncProperty(
  fc.commands(anyCommand, { maxCommands: FORM.isLong ? 80 : 40, size: 'max' }),
  (steps) => wholeHistory((model, real) => fc.asyncModelRun(() => ({ model, real }), steps)),
);

/** What happens between the begin of all processes and the end of all work. */
async function wholeHistory(middle: Step): Promise<void> {
  await sql.reset();
  const model = new OutboxModel();
  const real: Real = { sessions: new Map(), fences: new Map() };
  for (const one of PROCESSES) await commands.begin(one).run(model, real);
  await middle(model, real);
  await drain(model, real);
}

describe(`row 26, row 23: the table of deliveries and its model (${RUNS} runs, FAULTS_SEED=${FORM.seed})`, () => {
  it(
    'do the same, whatever happens in whatever order, and one process that is left ends it all',
    () => fc.assert(anyHistory, { seed: FORM.seed, numRuns: RUNS }),
    120_000 + RUNS * 2_000,
  );

  it('leave a lane to one of its rows when a lease that ran out is renewed', async () => {
    const [slow] = PROCESSES;
    const { publish, expire, ripen, claim, renew } = commands;
    const steps = [
      ...[publish('a', slow, true), publish('a', slow, false), claim(slow, 1), expire(slow), ripen(), claim(slow, 1)],
      ...[renew(slow), expire(slow), renew(slow)],
    ];
    await wholeHistory(async (model, real) => {
      for (const step of steps) await step.run(model, real);
    });
  });

  it('count a claim that the server forgot until somebody else has the row', async () => {
    const [one, other] = PROCESSES;
    const { publish, snooze, claim, serverCrash, reconnect, complete, fail, bury } = commands;
    const free = (lane: string) => [publish(lane, one, false), snooze(one, 0)];
    const steps = [
      ...[...free('a'), ...free('b'), ...free('c'), claim(one, 3), serverCrash()],
      // Before its new session, and also, as there is no telling, when another one has it under the same number.
      ...[complete(one, 0), fail(one, 0), reconnect(other), claim(other, 1), bury(one, 0), complete(other, 0)],
      ...[reconnect(one), ...free('a'), claim(one, 1), serverCrash()],
      // Adopted, it is nobody else's.
      ...[reconnect(one), reconnect(other), claim(other, 1), complete(one, 0)],
    ];
    await wholeHistory(async (model, real) => {
      for (const step of steps) {
        expect(step.check(model)).toBe(true);
        await step.run(model, real);
      }
      expect([model.done.length, model.dead.length, model.rows.size]).toEqual([2, 1, 1]);
    });
  });

  it('are found to differ when a result is written without its fence', async () => {
    const right = sql;
    // Its processes live on, and would be taken for the new ones.
    await right.reset();
    sql = new Unfenced(db, database.url);
    try {
      const verdict = await fc.check(anyHistory, { seed: 2, numRuns: 20, endOnFailure: true });
      expect(verdict.failed).toBe(true);
      // For that reason, and no other.
      expect(String(verdict.counterexample)).toMatch(/complete \(process \d\)[^,]*$/);
    } finally {
      await sql.reset();
      sql = right;
    }
  }, 120_000);
});

/** Forgets whose row it is when it completes it. */
class Unfenced extends DeliverySql {
  override async complete({ id }: Held): Promise<boolean> {
    const row = (await this.table()).find((one) => one.id === id);
    return row !== undefined && super.complete(row);
  }
}

/** Whatever state it is left in: one process that goes on working brings everything to its end, each lane in order. */
async function drain(model: OutboxModel, real: Real): Promise<void> {
  const last = 2;
  await commands.begin(last).run(model, real);
  for (const one of PROCESSES) if (model.processes.get(one)?.isAlive) await commands.crash(one).run(model, real);
  const order = new Map<string, string[]>();
  const lanes = new Map(model.table().map(({ id, lane }) => [id, lane]));
  await commands.rescue(last).run(model, real);
  await commands.orphans().run(model, real);
  await commands.ripen().run(model, real);
  for (let left = model.rows.size; left > 0; left = model.rows.size) {
    await commands.claim(last, 10).run(model, real);
    const held = model.processes.get(last)?.held ?? [];
    for (const { id } of held) {
      const lane = lanes.get(id) ?? '';
      order.set(lane, [...(order.get(lane) ?? []), id]);
    }
    while (held.length > 0) await commands.complete(last, 0).run(model, real);
    expect(model.rows.size).toBeLessThan(left);
  }
  for (const ids of order.values()) expect(ids).toEqual(sorted(ids));
}

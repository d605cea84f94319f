import { setTimeout as pause } from 'node:timers/promises';
import pg from 'pg';
import { migrate } from '../../src/infra/database/migrate.js';
import type { Seeded } from '../support/seeded.js';
import type { Member, World } from './world.js';

/** One fault, from its beginning to its end: what it returns from is healed again. */
export interface Fault {
  /** Of the matrix. */
  row: number;
  what: string;
  /** @param most how long it may last, in ms */
  run: (world: World, random: Seeded, most: number) => Promise<string>;
}

/** Each pause here is the fault's own duration: an input, nothing is awaited by it. */
const lasting = async (random: Seeded, least: number, most: number): Promise<string> => {
  const ms = Math.round(random.between(least, most));
  await pause(ms);
  return `for ${ms} ms`;
};

async function during(begin: () => unknown, last: () => Promise<string>, end: () => unknown): Promise<string> {
  await begin();
  try {
    return await last();
  } finally {
    await end();
  }
}

/** A fault of one member's wires. */
const onWires =
  (least: number, begin: (member: Member) => unknown, of: 'database' | 'provider' = 'database') =>
  async (world: World, random: Seeded, most: number): Promise<string> => {
    const member = random.pick(world.members);
    const heal = async () => {
      member[of].heal();
    };
    return `${member.name}, ${await during(
      () => begin(member),
      () => lasting(random, least, most),
      heal,
    )}`;
  };

export const FAULTS: readonly Fault[] = [
  {
    row: 2,
    what: 'a process is killed',
    run: async (world, random) => {
      const member = random.pick(world.members);
      await member.running.kill('SIGKILL');
      await member.start();
      return member.name;
    },
  },
  {
    row: 3,
    what: 'a process is frozen',
    run: async (world, random, most) => {
      const { name, running } = random.pick(world.members);
      const frozen = await during(
        () => running.signal('SIGSTOP'),
        () => lasting(random, 500, most),
        () => running.signal('SIGCONT'),
      );
      return `${name}, ${frozen}`;
    },
  },
  {
    row: 4,
    what: 'a process is replaced in order',
    run: async (world, random) => {
      const member = random.pick(world.members);
      const { code } = await member.running.kill('SIGTERM');
      await member.start();
      return `${member.name}, which ended with ${code}`;
    },
  },
  {
    row: 5,
    what: 'Postgres crashes',
    run: async (world, random, most) => {
      if (!world.postgres) throw new Error('this needs a server of its own');
      const { postgres } = world;
      return during(
        () => postgres.crash(),
        () => lasting(random, 0, most),
        () => postgres.launch(),
      );
    },
  },
  {
    row: 6,
    what: 'connections are ended by the server',
    run: async (world, random) => {
      let ended = 0;
      for (let n = 0; n < 10; n += 1) {
        ended += await world.terminateBackends(3);
        await pause(random.between(20, 150));
      }
      return `${ended} of them`;
    },
  },
  {
    row: 8,
    what: 'a listener falls silent',
    run: onWires(1_000, ({ database }) => database.swallow(['up', 'down'], (wire) => wire.listens)),
  },
  {
    row: 9,
    what: 'notifications are withheld',
    run: onWires(500, ({ database }) => {
      database.withholdNotifications = true;
    }),
  },
  {
    row: 10,
    what: 'Postgres is far away',
    run: onWires(500, ({ database }) => {
      database.latencyMs = 100;
    }),
  },
  {
    row: 10,
    what: 'connections to Postgres fall silent',
    run: onWires(500, ({ database }) => database.swallow(['up', 'down'])),
  },
  {
    row: 11,
    what: 'the answer to a commit is lost',
    run: onWires(300, ({ database }) => database.loseNextCommit((wire) => !wire.listens)),
  },
  {
    row: 16,
    what: 'the provider takes nothing more',
    run: (world, random, most) =>
      during(
        () => world.twilio.faults.always({ kind: 'status_429', retryAfterSeconds: 1 }),
        () => lasting(random, 500, most),
        () => world.twilio.faults.endStanding(),
      ),
  },
  {
    row: 17,
    what: 'requests to the provider are cut',
    run: onWires(200, ({ provider }) => provider.cut(), 'provider'),
  },
  {
    row: 17,
    what: 'answers of the provider are lost',
    run: onWires(300, ({ provider }) => provider.swallow(['down']), 'provider'),
  },
  {
    row: 18,
    what: 'the provider is away',
    run: async (world, random, most) => {
      const providers = world.members.map(({ provider }) => provider);
      return during(
        () => Promise.all(providers.map((provider) => provider.refuse())),
        () => lasting(random, 500, most),
        () => Promise.all(providers.map((provider) => provider.accept())),
      );
    },
  },
  {
    row: 20,
    what: 'a snapshot is held',
    run: async (world, random, most) => {
      const reader = await world.db.connect();
      const begin = () => reader.query('begin isolation level repeatable read; select 1');
      const end = () => reader.query('rollback').finally(() => reader.release());
      return during(begin, () => lasting(random, 500, most), end);
    },
  },
  {
    row: 24,
    what: 'migrations run, and a column comes',
    run: async (world) => {
      const url = world.db.options.connectionString ?? '';
      const applied = await migrate(url);
      const client = new pg.Client({ connectionString: url });
      await client.connect();
      const column = `later_${world.placed.length}`;
      await client
        .query(`set lock_timeout = '2s'; alter table infra.outbox_deliveries add column ${column} int`)
        .finally(() => client.end());
      return `${applied.length} applied`;
    },
  },
];

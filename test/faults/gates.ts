import pg from 'pg';
import { eventually } from '../support/eventually.js';
import type { Member, World } from './world.js';

/** First key of the locks that the gates are made of; the second is the gate. */
const GATE_LOCK_CLASS = 7_236_199;

/** Whoever calls from here is the poison of the tests. */
export const POISONOUS_CALLER = '+14259990000';

/** Where a send can be held up, each inside the statement that ends the step before. */
const GATES = {
  /** The delivery is held and its handler runs; nothing of it is written. */
  started: 'before insert on conversation.threads for each row',
  poisoned: `before insert on conversation.threads for each row when (new.caller = '${POISONOUS_CALLER}')`,
  /** The marker is written and not committed: nothing may be sent. */
  marking: 'before insert on telephony.send_attempts for each row',
  /** The marker is being committed; what is deferred to a commit holds it up. */
  marked: 'after insert on telephony.send_attempts deferrable initially deferred for each row',
  /** The answer is read and not written. */
  answered: 'before update on telephony.send_attempts for each row',
  /** The text is sent, the handler done; its delivery is still there. */
  completing: `before delete on infra.outbox_deliveries for each row when (old.subscriber = 'conversation.first_reply')`,
} as const;
export type GateName = keyof typeof GATES;
const NAMES = Object.keys(GATES) as GateName[];

/**
 * Holds processes inside a known step, from the database: a trigger waits for a lock that the test holds while the
 * gate is closed. Production code knows nothing of it.
 */
export class Gates {
  private constructor(
    private readonly world: World,
    private readonly holder: pg.Client,
  ) {}

  static async install(world: World): Promise<Gates> {
    const create = NAMES.map((name, number) => {
      const kind = GATES[name].includes('deferrable') ? 'constraint trigger' : 'trigger';
      return `create ${kind} gate_${name} ${GATES[name]} execute function gate(${number});`;
    });
    await world.db.query(`
      create or replace function public.gate() returns trigger language plpgsql as $$ begin
        perform pg_advisory_xact_lock_shared(${GATE_LOCK_CLASS}, tg_argv[0]::int);
        return coalesce(new, old);
      end $$;
      ${create.join('\n')}`);
    const holder = new pg.Client({ connectionString: world.db.options.connectionString });
    holder.on('error', () => undefined);
    await holder.connect();
    return new Gates(world, holder);
  }

  /** Closes a gate. Whoever comes to it waits, until it is opened or their statement times out (8 s). */
  async close(name: GateName): Promise<ClosedGate> {
    const number = NAMES.indexOf(name);
    await this.holder.query('select pg_advisory_lock($1, $2)', [GATE_LOCK_CLASS, number]);
    return new ClosedGate(this.world, this.holder, number);
  }

  /** Opens every gate that is still closed, so that what failed in one test fails there only. */
  async openAll(): Promise<void> {
    await this.holder.query('select pg_advisory_unlock_all()');
  }

  async stop(): Promise<void> {
    await this.holder.end();
  }
}

/** A gate at which processes wait. */
export class ClosedGate {
  constructor(
    private readonly world: World,
    private readonly holder: pg.Client,
    private readonly number: number,
  ) {}

  /** The first member that waits here. */
  async caught(deadlineMs = 20_000): Promise<Member> {
    const [first] = await eventually(
      async () => {
        const waiting = await this.waiting();
        return waiting.length > 0 ? waiting : null;
      },
      { deadlineMs, label: 'somebody comes to the gate' },
    );
    if (!first) throw new Error('nobody waits at the gate');
    return this.world.memberAt(first.client_port);
  }

  /** Ends the statements of members that are gone; the server itself would only find out after having done them. */
  async abandon(gone: Member): Promise<void> {
    const waiting = await this.waiting();
    const theirs = waiting.filter(
      ({ client_port }) => !this.world.members.some((member) => member !== gone && member.owns(client_port)),
    );
    await this.world.db.query('select pg_terminate_backend(pid, 5000) from unnest($1::int[]) pid', [
      theirs.map(({ pid }) => pid),
    ]);
  }

  async open(): Promise<void> {
    await this.holder.query('select pg_advisory_unlock($1, $2)', [GATE_LOCK_CLASS, this.number]);
  }

  private async waiting(): Promise<{ pid: number; client_port: number }[]> {
    const { rows } = await this.world.db.query<{ pid: number; client_port: number }>(
      `select l.pid, a.client_port from pg_locks l join pg_stat_activity a using (pid)
       where l.locktype = 'advisory' and l.classid = $1 and l.objid = $2 and not l.granted`,
      [GATE_LOCK_CLASS, this.number],
    );
    return rows;
  }
}

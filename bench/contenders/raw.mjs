import { setTimeout as pause } from 'node:timers/promises';
import pg from 'pg';

const CLAIM = `
  with claimed as (
    update jobs j set owner = $2, fence = j.fence + 1, available_at = now() + interval '15 seconds'
    where j.id = any (array(
      select id from jobs where available_at <= now() order by available_at, id limit $1 for update skip locked))
    returning j.id, j.fence, j.payload
  )
  select * from claimed order by id`;
const COMPLETE = `
  delete from jobs j using unnest($1::bigint[], $2::int[]) as done (id, fence)
  where j.id = done.id and j.fence = done.fence`;

/**
 * The floor: what Postgres and the driver cost, with nothing of a queue around them. It leases and deletes as the
 * product does, and has neither lanes, subscribers, tenants, retries, deadlines, metrics nor logs.
 * @type {import('./contender.mjs').Contender}
 */
export const contender = {
  pg,

  async install(url) {
    const client = new pg.Client({ connectionString: url });
    await client.connect();
    await client.query(`
      create table jobs (
        id bigint generated always as identity primary key,
        payload jsonb not null,
        available_at timestamptz not null default now(),
        owner int,
        fence int not null default 0
      ) with (fillfactor = 70);
      create index jobs_available on jobs (available_at, id)`);
    await client.end();
  },

  async seed(client, count) {
    await client.query(
      `insert into jobs (payload) select jsonb_build_object('n', n) from generate_series(0, $1::int - 1) n`,
      [count],
    );
  },

  pending: 'select exists (select 1 from jobs) as pending',

  left: 'select count(*)::int as left from jobs',

  async producer(url, { listen = false }) {
    const pool = new pg.Pool({ connectionString: url, pipeline: true });
    return {
      async enqueue(n) {
        const client = await pool.connect();
        const inserted = client.query({ name: 'insert', text: INSERT, values: [{ n }] });
        const told = listen && client.query({ name: 'tell', text: TELL }).catch(() => {});
        await inserted.finally(() => Promise.resolve(told).then(() => client.release()));
      },
      stop: () => pool.end(),
    };
  },

  /**
   * `connections` loops that claim a batch, call the handler for each row, and delete the batch, until nothing is left;
   * with `pollMs` they look again after that time, and with `listen` when they are told.
   */
  async start(url, { connections = 4, batch = 100, transaction = false, pollMs = 0, listen = false }, onStart) {
    const pool = new pg.Pool({ connectionString: url, max: transaction ? 10 : connections });
    await Promise.all(
      (await Promise.all(Array.from({ length: pool.options.max }, () => pool.connect()))).map((client) =>
        client.release(),
      ),
    );
    let stopped = false;
    const ears = listen ? await listenTo(url) : undefined;
    const loop = async (/** @type {number} */ owner) => {
      while (!stopped) {
        const { rows } = await pool.query({ name: 'claim', text: CLAIM, values: [batch, owner] });
        if (rows.length === 0 && pollMs === 0 && !ears) return;
        if (rows.length === 0) await (ears ? ears.told() : pause(pollMs));
        if (rows.length === 0) continue;
        for (const { payload } of rows) await onStart(payload.n);
        const values = [rows.map(({ id }) => id), rows.map(({ fence }) => fence)];
        await pool.query({ name: 'complete', text: COMPLETE, values });
      }
    };
    const loops = transaction === false ? Array.from({ length: connections }, (_, owner) => loop(owner)) : [];
    return {
      enqueue: (n) => (transaction === 'four trips' ? fourTrips(pool, n, onStart) : oneStatement(pool, n, onStart)),
      async stop() {
        stopped = true;
        await ears?.stop();
        await Promise.all(loops);
        await pool.end();
      },
    };
  },
};

/** @returns what resolves when somebody has told us something since the last time, or when it is over */
async function listenTo(url) {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  await client.query('listen jobs');
  let next = Promise.withResolvers();
  client.on('notification', () => next.resolve(undefined));
  return {
    async told() {
      await next.promise;
      next = Promise.withResolvers();
    },
    async stop() {
      next.resolve(undefined);
      await client.end();
    },
  };
}

/** Behind the insert, not in its transaction, and not waiting for the disk once more. */
const TELL = "select set_config('synchronous_commit', 'off', true), pg_notify('jobs', '')";
const INSERT = 'insert into jobs (payload) values ($1)';

/** A handler called the moment the commit is known: no hand-over can be faster. */
async function oneStatement(pool, n, onStart) {
  await pool.query({ name: 'insert', text: INSERT, values: [{ n }] });
  await onStart(n);
}

/** The shape of a business transaction that publishes one event: begin, the order lock, the insert, commit. */
async function fourTrips(pool, n, onStart) {
  const client = await pool.connect();
  await client.query('begin');
  await client.query('select pg_advisory_xact_lock(1, $1)', [n]);
  await client.query({ name: 'insert', text: INSERT, values: [{ n }] });
  await client.query('commit');
  client.release();
  await onStart(n);
}

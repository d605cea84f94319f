import pg from 'pg';
import { PgBoss } from 'pg-boss';

const QUEUE = 'noop';

/** @type {import('./contender.mjs').Contender} */
export const contender = {
  pg,

  async install(url) {
    const boss = await open(url, {});
    await boss.createQueue(QUEUE, { notify: true });
    await boss.stop({ graceful: false, close: true });
  },

  async seed(client, count) {
    await client.query(
      `insert into pgboss.job (name, data) select $2, jsonb_build_object('n', n) from generate_series(0, $1::int - 1) n`,
      [count, QUEUE],
    );
  },

  pending: `select exists (select 1 from pgboss.job where name = '${QUEUE}' and state < 'completed') as pending`,

  left: `select count(*)::int as left from pgboss.job where name = '${QUEUE}' and state < 'completed'`,

  wake: `select pg_notify('pgboss_' || left(encode(sha224('pgboss'), 'hex'), 24), '${QUEUE}')`,

  /** As many as it is asked to, as its default of seven days would keep them. */
  async grow(client, count) {
    await client.query(
      `insert into pgboss.job (name, data, state, created_on, started_on, completed_on)
       select $2, jsonb_build_object('n', n), 'completed', now(), now(), now() from generate_series(0, $1::int - 1) n`,
      [count, QUEUE],
    );
  },

  async producer(url, { tolerant }) {
    const boss = await open(url, { tolerant });
    return { enqueue: (n) => boss.send(QUEUE, { n }), stop: () => boss.stop({ graceful: false, close: true }) };
  },

  async start(url, { notify = false, tolerant, ...work }, onStart) {
    const boss = await open(url, { tolerant, useListenNotify: notify });
    await boss.work(QUEUE, work, async (jobs) => {
      for (const { data } of jobs) await onStart(data.n);
    });
    return {
      enqueue: (n) => boss.send(QUEUE, { n }),
      stop: () => boss.stop({ graceful: true, close: true, timeout: 5_000 }),
    };
  },
};

/** Without its housekeeping, which would only cost it here. Its errors end the process unless they are provoked. */
async function open(url, { tolerant = false, ...options }) {
  const boss = new PgBoss({ connectionString: url, schedule: false, supervise: false, ...options });
  boss.on('error', (error) => {
    if (!tolerant) throw error;
  });
  await boss.start();
  return boss;
}

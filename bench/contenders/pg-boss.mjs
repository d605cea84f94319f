import { PgBoss } from 'pg-boss';

const QUEUE = 'noop';

/** @type {import('./contender.mjs').Contender} */
export const contender = {
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

  async start(url, { notify = false, ...work }, onStart) {
    const boss = await open(url, notify ? { useListenNotify: true } : {});
    await boss.work(QUEUE, work, async (jobs) => {
      for (const { data } of jobs) await onStart(data.n);
    });
    return {
      enqueue: (n) => boss.send(QUEUE, { n }),
      stop: () => boss.stop({ graceful: true, close: true, timeout: 5_000 }),
    };
  },
};

/** Without its housekeeping, which would only cost it here. */
async function open(url, options) {
  const boss = new PgBoss({ connectionString: url, schedule: false, supervise: false, ...options });
  boss.on('error', (error) => {
    throw error;
  });
  await boss.start();
  return boss;
}

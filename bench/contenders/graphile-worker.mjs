import { Logger, makeWorkerUtils, run } from 'graphile-worker';
import pg from 'pg';

const TASK = 'noop';
const silent = new Logger(() => () => {});

/** @type {import('./contender.mjs').Contender} */
export const contender = {
  pg,

  async install(url) {
    const utils = await makeWorkerUtils({ connectionString: url, logger: silent });
    await utils.migrate();
    await utils.release();
  },

  async seed(client, count) {
    await client.query(
      `select count(*) from graphile_worker.add_jobs(array(
         select row($2, jsonb_build_object('n', n), null, null, null, null, null, null)::graphile_worker.job_spec
         from generate_series(0, $1::int - 1) n))`,
      [count, TASK],
    );
  },

  pending: 'select exists (select 1 from graphile_worker._private_jobs) as pending',

  left: 'select count(*)::int as left from graphile_worker._private_jobs',

  async producer(url) {
    const utils = await makeWorkerUtils({ connectionString: url, logger: silent });
    return { enqueue: (n) => utils.addJob(TASK, { n }), stop: async () => utils.release() };
  },

  async start(url, settings, onStart) {
    const runner = await run({
      connectionString: url,
      noHandleSignals: true,
      taskList: { [TASK]: async (/** @type {any} */ payload) => onStart(payload.n) },
      preset: { worker: { connectionString: url, logger: silent, ...settings } },
      logger: silent,
    });
    let stopping = false;
    // When it gives up by itself, its process ends, as that of its own command line does.
    runner.promise.catch(() => {}).then(() => stopping || process.exit(1));
    return {
      enqueue: (n) => runner.addJob(TASK, { n }),
      stop: async () => {
        stopping = true;
        await runner.stop();
      },
    };
  },
};

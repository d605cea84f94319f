import { setTimeout as pause } from 'node:timers/promises';
import pg from 'pg';
import { loadContender } from '../contenders/contender.mjs';
import { watchClaims } from './claims.mjs';
import { now } from './clock.mjs';
import { until } from './wait.mjs';

const REPORT_MS = 20;

/** In a process of its own, asked by lib/actors.mjs: one half of a contender, the enqueuing one or the working one. */
export async function play({ actor, contender: name, ...job }) {
  const contender = await loadContender(name);
  const answers = actor === 'producer' ? await produce(contender, job) : await work(contender, job);
  process.on('message', async (/** @type {any} */ { question, id, value }) => {
    try {
      const answer = await answers[/** @type {'stop'} */ (question)](value);
      process.send?.({ type: `answer ${id}`, value: answer });
    } catch (error) {
      process.stderr.write(`${error instanceof Error ? error.stack : error}\n`, () => process.exit(1));
    }
  });
}

async function produce(contender, { url, settings }) {
  const producer = await contender.producer(url, settings);
  return {
    /**
     * Enqueues jobs `from`, `from + step`, ... at uneven distances of `everyMs`, whether or not earlier ones have been
     * answered. Answers, for each, its number, when it was sent, and when the enqueue was acknowledged, if it was.
     */
    async enqueue({ from, count, step = 1, everyMs: [least, most] }) {
      const sent = [];
      const enqueues = [];
      let due = now();
      for (let i = 0; i < count; i++) {
        const n = from + i * step;
        const one = [n, now()];
        sent.push(one);
        const acknowledged = producer.enqueue(n).then(() => {
          one[2] = now();
        });
        enqueues.push(acknowledged.catch(() => {}));
        due += least + Math.random() * (most - least);
        if (due > now()) await pause(due - now());
      }
      await Promise.all(enqueues);
      return sent;
    },
    stop: () => producer.stop(),
  };
}

async function work(contender, { url, direct, settings, handlerMs = 0, prompt = false }) {
  const claims = watchClaims(contender.pg);
  /** @type {[number, number][]} */
  let starts = [];
  let started = 0;
  const report = () => {
    if (starts.length > 0) process.send?.({ type: 'starts', value: starts });
    starts = [];
  };
  const running = await contender.start(url, settings, async (/** @type {number} */ n) => {
    starts.push([n, now()]);
    started++;
    if (prompt) report();
    if (handlerMs > 0) await pause(handlerMs);
  });
  setInterval(report, REPORT_MS);
  const client = new pg.Client({ connectionString: direct ?? url });
  client.on('error', () => {});
  await client.connect();
  const pending = async () => (await client.query(contender.pending)).rows[0].pending;
  const seed = async (/** @type {number} */ count) => {
    await contender.seed(client, count, settings);
    if (contender.wake) await client.query(contender.wake);
  };
  return {
    seed: ({ count }) => seed(count),
    /** Writes `count` due jobs by SQL and waits until all are marked as done. Answers the claims that it took. */
    async work({ count, deadlineMs }) {
      const end = started + count;
      claims.length = 0;
      await seed(count);
      await until(deadlineMs, async () => started >= end && !(await pending()));
      return claims;
    },
    stop: async () => {
      await running.stop();
      await client.end();
    },
  };
}

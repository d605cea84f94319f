import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const CHILD = fileURLToPath(new URL('../child.mjs', import.meta.url));
const INSTRUMENTATION = new URL('../../dist/instrumentation.js', import.meta.url).href;
const DEADLINE_MS = 90_000;

/** @type {Set<import('node:child_process').ChildProcess>} */
const running = new Set();
let isOver = false;

/** Whether everything was ended, so that what fails from now on fails because of that. */
export function runIsOver() {
  return isOver;
}

/** Whatever is still running when this program ends goes with it. */
export function track(/** @type {import('node:child_process').ChildProcess} */ child) {
  running.add(child);
  child.once('close', () => running.delete(child));
}

/**
 * Starts a process for one job, with nothing of this environment but PATH. Its standard output, where the product
 * logs, is thrown away. It ends by itself when this process does.
 * @param {Record<string, unknown>} job
 * @param {{ instrumented?: boolean, deadlineMs?: number }} [options] `instrumented` preloads the product's tracing, as
 * its production command does; after `deadlineMs` it is killed
 */
export function forkChild(job, { instrumented = false, deadlineMs = DEADLINE_MS } = {}) {
  if (isOver) throw new Error('the run is over');
  const child = fork(CHILD, [JSON.stringify(job)], {
    env: { PATH: process.env.PATH ?? '', NODE_ENV: 'production', NODE_OPTIONS: process.env.BENCH_NODE_OPTIONS ?? '' },
    execArgv: instrumented ? ['--import', INSTRUMENTATION] : [],
    stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
  });
  track(child);
  let complaints = '';
  child.stderr?.on('data', (chunk) => {
    complaints = (complaints + chunk).slice(-4_000);
  });
  const deadline = setTimeout(() => child.kill('SIGKILL'), deadlineMs);
  const ended = Promise.withResolvers();
  child.once('close', (code, signal) => {
    clearTimeout(deadline);
    ended.resolve(undefined);
    // Its own last words first: they are what a table shows of a failure.
    failed.reject(
      new Error(
        `${complaints}\n${JSON.stringify({ ...job, url: undefined, direct: undefined })} ended with ${signal ?? `code ${code}`}`.trim(),
      ),
    );
  });
  const failed = Promise.withResolvers();
  failed.promise.catch(() => {});
  const first = (/** @type {string} */ type) =>
    Promise.race([
      failed.promise,
      new Promise((resolve) => {
        child.on('message', function hear(/** @type {any} */ message) {
          if (message.type !== type) return;
          child.off('message', hear);
          resolve(message.value);
        });
      }),
    ]);
  const ready = first('ready');
  const result = first('result');
  for (const promise of [ready, result]) promise.catch(() => {});
  let questions = 0;
  return {
    /** Resolves when the job has begun. */
    ready,
    /** Resolves with what the job came to. */
    result,
    /** Resolves when the process is gone. */
    ended: ended.promise,
    /** Rejects when the process is gone. */
    failed: failed.promise,
    on(/** @type {string} */ type, /** @type {(message: any) => void} */ listener) {
      child.on('message', (/** @type {any} */ message) => message.type === type && listener(message));
    },
    /** The answer of a process that serves questions (`lib/actor.mjs`). */
    ask(/** @type {string} */ question, /** @type {Record<string, unknown>} */ value = {}) {
      const id = ++questions;
      const answer = first(`answer ${id}`);
      child.send({ question, id, value }, () => {});
      return answer;
    },
    kill: () => child.kill('SIGKILL'),
  };
}

/** Ends whatever is still running, and begins nothing any more. */
export function killChildren() {
  isOver = true;
  for (const child of running) child.kill('SIGKILL');
}

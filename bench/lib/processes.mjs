import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const CHILD = fileURLToPath(new URL('../child.mjs', import.meta.url));
const INSTRUMENTATION = new URL('../../dist/instrumentation.js', import.meta.url).href;
const DEADLINE_MS = 90_000;

/** @type {Set<import('node:child_process').ChildProcess>} */
const running = new Set();

/**
 * Starts a process for one job, with nothing of this environment but PATH. Its standard output, where the product
 * logs, is thrown away. It ends by itself when this process does.
 * @param {Record<string, unknown>} job
 * @param {{ instrumented?: boolean }} [options] preloads the product's tracing, as its production command does
 */
export function forkChild(job, { instrumented = false } = {}) {
  const child = fork(CHILD, [JSON.stringify(job)], {
    env: { PATH: process.env.PATH ?? '', NODE_ENV: 'production', NODE_OPTIONS: process.env.BENCH_NODE_OPTIONS ?? '' },
    execArgv: instrumented ? ['--import', INSTRUMENTATION] : [],
    stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
  });
  running.add(child);
  let complaints = '';
  child.stderr?.on('data', (chunk) => {
    complaints += chunk;
  });
  const deadline = setTimeout(() => child.kill('SIGKILL'), DEADLINE_MS);
  const ended = Promise.withResolvers();
  child.once('close', (code, signal) => {
    clearTimeout(deadline);
    running.delete(child);
    ended.resolve(undefined);
    failed.reject(
      new Error(`${JSON.stringify(job)} ended with ${signal ?? `code ${code}`}\n${complaints.slice(-4_000)}`),
    );
  });
  const failed = Promise.withResolvers();
  failed.promise.catch(() => {});
  const first = (/** @type {string} */ type) =>
    Promise.race([
      failed.promise,
      new Promise((resolve) => {
        child.on('message', (/** @type {any} */ message) => message.type === type && resolve(message.value));
      }),
    ]);
  const ready = first('ready');
  const result = first('result');
  for (const promise of [ready, result]) promise.catch(() => {});
  return {
    /** Resolves when the job has begun. */
    ready,
    /** Resolves with what the job came to. */
    result,
    /** Resolves when the process is gone. */
    ended: ended.promise,
    on(/** @type {string} */ type, /** @type {(message: any) => void} */ listener) {
      child.on('message', (/** @type {any} */ message) => message.type === type && listener(message));
    },
    kill: () => child.kill('SIGKILL'),
  };
}

/** Ends whatever is still running. */
export function killChildren() {
  for (const child of running) child.kill('SIGKILL');
}

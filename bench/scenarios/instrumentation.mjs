import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { contend } from '../lib/contend.mjs';
import { contendersTable, ms, ratio, rounds, whole } from '../lib/format.mjs';
import { forkChild, track } from '../lib/processes.mjs';
import { median } from '../lib/statistics.mjs';
import { until } from '../lib/wait.mjs';
import { serveLoad } from '../lib/webhook-load.mjs';

const CONNECTIONS = 16;
const WARM_UP_SECONDS = 2;
/** Before that, much of the code is not compiled yet. */
const WARM_UP_WEBHOOKS = 1_000;
const SECONDS = 5;
const READY_DEADLINE_MS = 20_000;
const BUDGET_MS = 240_000;
/** Kernel ticks of /proc/<pid>/stat a second: 100 on every Linux that Node supports. */
const TICKS_PER_SECOND = 100;
const NUMBER = '+12125550100';
const ACCOUNT = { sid: `AC${'0'.repeat(31)}1`, token: 'simulated-auth-token' };
const TRACING = new URL('../../dist/instrumentation.js', import.meta.url).pathname;
const WITHOUT_METRICS = new URL('../lib/without-metrics.mjs', import.meta.url).pathname;
const MAIN = new URL('../../dist/main.js', import.meta.url).pathname;
const OPS = { OPS_USERNAME: 'bench', OPS_PASSWORD: 'not-a-secret-ops' };

const OFF = { logs: false, metrics: false, traces: false };
const ON = { logs: true, metrics: true, traces: true };
const LINE_UP = [
  configuration('web, everything off', 'web', OFF),
  configuration('web, fully instrumented', 'web', ON),
  configuration('web, without logs', 'web', { ...ON, logs: false }),
  configuration('web, without metrics', 'web', { ...ON, metrics: false }),
  configuration('web, without traces', 'web', { ...ON, traces: false }),
  configuration('all, everything off', 'all', OFF),
  configuration('all, fully instrumented', 'all', ON),
];

/** What logs, metrics and traces cost the webhook path of the whole product, built, as production starts it. */
export const scenario = {
  run: ({ server, plan }) =>
    contend(LINE_UP, { what: 'instrumentation', plan, rounds: 3, budgetMs: BUDGET_MS }, (entry) =>
      server.withDatabase((/** @type {string} */ url) => measure(entry.settings, url)),
    ),

  section(results) {
    const of = (values, /** @type {'perSecond' | 'cpuMs'} */ what) => median(values.map((value) => value[what]));
    const cells = (values, /** @type {string} */ name) => {
      const off = results.get(`${name.split(',')[0]}, everything off`)?.values ?? [];
      const rates = values.map(({ perSecond }) => perSecond);
      return [
        whole(median(rates)),
        `${whole(Math.min(...rates))}-${whole(Math.max(...rates))}`,
        ratio(median(rates) / of(off, 'perSecond')),
        ms(of(values, 'cpuMs')),
        ratio(of(off, 'cpuMs') / of(values, 'cpuMs')),
      ];
    };
    const count = Math.max(...[...results.values()].map(({ values }) => values.length));
    const scrapes = results.get('web, fully instrumented')?.values.map(({ scrapeMs }) => scrapeMs) ?? [];
    return `## Instrumentation

Signed voice webhooks a second over ${CONNECTIONS} connections of one other process, each a new call with its decision and its event in
one transaction, into the built product as production starts it; ${rounds(count)} of ${SECONDS} s, each on an empty database. Fully
instrumented: \`LOG_LEVEL=info\` into a pipe that is read, every trace recorded, a tenth of them exported to a collector
that throws them away, and all metrics. Without traces: without the preload. Without metrics: with every observation
replaced by nothing. CPU is of the product's process alone, from the kernel's books, and far less noisy than the rate;
both ratios are to everything off of the same role, above 1 is better. \`all\` works the calls' texts off as well, with a
simulated Twilio, and shares its CPU between both. One scrape of \`/metrics\` after the load took ${ms(median(scrapes))} ms.

${contendersTable(results, ['ROLE, configuration', 'webhooks/s', 'min-max', 'ratio', 'CPU ms per webhook', 'ratio'], cells)}`;
  },
};

function configuration(/** @type {string} */ name, /** @type {string} */ role, parts) {
  return { name, contender: 'ours', settings: { role, ...parts } };
}

async function measure(settings, /** @type {string} */ databaseUrl) {
  const outside = forkChild({ scenario: 'instrumentation', role: 'outside' });
  const { twilio, collector, port } = await outside.ready;
  const baseUrl = `http://127.0.0.1:${port}`;
  const app = startApp(settings, {
    NODE_ENV: 'production',
    ROLE: settings.role,
    LOG_LEVEL: settings.logs ? 'info' : 'silent',
    HOST: '127.0.0.1',
    PORT: String(port),
    PUBLIC_BASE_URL: baseUrl,
    DATABASE_URL: databaseUrl,
    ...OPS,
    METRICS_USERNAME: 'bench',
    METRICS_PASSWORD: 'not-a-secret-metrics',
    TWILIO_ACCOUNT_SID: ACCOUNT.sid,
    TWILIO_AUTH_TOKEN: ACCOUNT.token,
    TWILIO_API_BASE_URL: twilio,
    OTEL_EXPORTER_OTLP_ENDPOINT: collector,
  });
  try {
    await Promise.race([app.failed, ready(baseUrl)]);
    await onboard(baseUrl);
    const load = forkChild({ scenario: 'instrumentation', role: 'load', baseUrl });
    await load.ready;
    await load.ask('post', { seconds: WARM_UP_SECONDS, atLeast: WARM_UP_WEBHOOKS });
    const cpuFrom = app.cpuMs();
    const { posted, seconds } = await load.ask('post', { seconds: SECONDS });
    const cpuMs = (app.cpuMs() - cpuFrom) / posted;
    load.kill();
    await load.ended;
    return { perSecond: posted / seconds, cpuMs, scrapeMs: await scrape(baseUrl) };
  } finally {
    await app.stop();
    outside.kill();
    await outside.ended;
  }
}

/** In processes of their own: what is outside of the product, and who posts to it. */
export function play({ role, baseUrl }) {
  return role === 'outside'
    ? beOutside()
    : serveLoad(`${baseUrl}/webhooks/twilio/voice`, { ...ACCOUNT, to: NUMBER, connections: CONNECTIONS });
}

async function beOutside() {
  const { TwilioSimulator } = await import('../../dist/demo/simulators/twilio/twilio-simulator.js');
  const { holdPort } = await import('../../dist/demo/development.js');
  const { sid: accountSid, token: authToken } = ACCOUNT;
  const simulator = await TwilioSimulator.start({ accountSid, authToken });
  const collector = createServer((exported, response) => {
    exported.resume().on('end', () => response.writeHead(200).end());
  });
  await new Promise((listening) => collector.listen(0, '127.0.0.1', () => listening(undefined)));
  const { port } = /** @type {import('node:net').AddressInfo} */ (collector.address());
  const forTheApp = await holdPort(0);
  await forTheApp.release();
  return { twilio: simulator.baseUrl, collector: `http://127.0.0.1:${port}`, port: forTheApp.port };
}

function startApp({ metrics, traces }, /** @type {Record<string, string>} */ env) {
  const preloads = [...(traces ? [TRACING] : []), ...(metrics ? [] : [WITHOUT_METRICS])];
  // For a profile: BENCH_APP_NODE_OPTIONS='--cpu-prof --cpu-prof-dir=/tmp/profiles'
  const extra = (process.env.BENCH_APP_NODE_OPTIONS ?? '').split(' ').filter(Boolean);
  const child = spawn(process.execPath, [...extra, ...preloads.flatMap((file) => ['--import', file]), MAIN], {
    env: { PATH: process.env.PATH ?? '', ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  track(child);
  let complaints = '';
  child.stdout.resume();
  child.stderr.on('data', (chunk) => {
    complaints = (complaints + chunk).slice(-4_000);
  });
  const ended = new Promise((resolve) => child.once('close', resolve));
  const failed = ended.then(() => Promise.reject(new Error(`the product ended: ${complaints}`)));
  failed.catch(() => {});
  return {
    failed,
    /** CPU time of the process so far, in milliseconds: fields 14 and 15, counted behind the name in brackets. */
    cpuMs() {
      const fields = readFileSync(`/proc/${child.pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
      return ((Number(fields[11]) + Number(fields[12])) * 1_000) / TICKS_PER_SECOND;
    },
    async stop() {
      const impatient = setTimeout(() => child.kill('SIGKILL'), 15_000);
      child.kill('SIGTERM');
      await ended;
      clearTimeout(impatient);
    },
  };
}

function ready(/** @type {string} */ baseUrl) {
  return until(READY_DEADLINE_MS, async () => {
    const response = await fetch(`${baseUrl}/health/ready`).catch(() => undefined);
    await response?.arrayBuffer();
    return response?.status === 200;
  });
}

async function onboard(/** @type {string} */ baseUrl) {
  const response = await fetch(`${baseUrl}/ops/api/tenants`, {
    method: 'POST',
    headers: { authorization: basic(OPS.OPS_USERNAME, OPS.OPS_PASSWORD), 'content-type': 'application/json' },
    body: JSON.stringify({
      name: 'Bench Plumbing',
      time_zone: 'America/New_York',
      voice_mode: 'forward_target',
      a2p_status: 'approved',
      numbers: [NUMBER],
    }),
  });
  if (!response.ok) throw new Error(`onboarding was answered ${response.status} ${await response.text()}`);
}

async function scrape(/** @type {string} */ baseUrl) {
  const from = performance.now();
  const headers = { authorization: basic('bench', 'not-a-secret-metrics') };
  const response = await fetch(`${baseUrl}/metrics`, { headers });
  await response.text();
  if (!response.ok) throw new Error(`/metrics was answered ${response.status}`);
  return performance.now() - from;
}

function basic(/** @type {string} */ username, /** @type {string} */ password) {
  return `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`;
}

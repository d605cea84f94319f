import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { eventually } from './eventually.js';
import { freePort } from './free-port.js';
import { killGroupWithUs } from './spawned-app.js';

const DEPLOY = fileURLToPath(new URL('../../deploy/', import.meta.url));
const PROMETHEUS = 'prometheus';
const ALERTMANAGER = 'prometheus-alertmanager';
const MS: Record<string, number> = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000, w: 604_800_000 };

/** Whether both servers are there: the Debian packages prometheus and prometheus-alertmanager. */
export const HAS_MONITORING = [PROMETHEUS, ALERTMANAGER].every(
  (program) => spawnSync(program, ['--version'], { timeout: 15_000 }).status === 0,
);

/**
 * The same configuration with its time running faster: what alerts wait for (`for`), how often things happen, how long
 * they are grouped, and the ranges and offsets of queries. Thresholds, labels and the windows that the app itself
 * computes (15 minutes of calls, burn rates) stay as they are.
 */
export function faster(text: string, factor: number): string {
  return text.replace(
    /(\bfor: |interval: |group_wait: |\[|offset )(\d+)([smhdw])\b/g,
    (_all, before: string, amount: string, unit: string) =>
      `${before}${Math.round((Number(amount) * (MS[unit] ?? 0)) / factor)}ms`,
  );
}

/** Replaces what must be there exactly once. */
function adapted(text: string, ...changes: readonly (readonly [from: string, to: string])[]): string {
  return changes.reduce((result, [from, to]) => {
    if (result.split(from).length !== 2) throw new Error(`the configuration has not exactly one ${from}`);
    return result.replace(from, to);
  }, text);
}

export interface FiringAlert {
  labels: Record<string, string>;
  state: 'pending' | 'firing';
  activeAt: string;
}

/** What a receiver was sent. */
export interface Notification {
  receiver: string;
  authorization: string | undefined;
  status: 'firing' | 'resolved';
  alerts: { labels: Record<string, string>; annotations: Record<string, string>; status: string }[];
}

interface Target {
  /** host:port */
  address: string;
  username: string;
  password: string;
}

/**
 * Prometheus and Alertmanager as deploy/ configures them, with time running faster, over an app; and the receivers that
 * alerts are sent to. Everything it starts is killed with the process that started it.
 */
export class Monitoring {
  readonly notifications: Notification[] = [];
  private readonly folder = mkdtempSync(join(tmpdir(), 'nmc-monitoring-'));
  private readonly processes: { name: string; child: ChildProcess; guard: ChildProcess; output: string[] }[] = [];
  private readonly receivers: Server = createServer((request, response) => this.receive(request, response));
  private prometheusUrl = '';
  private alertmanagerUrl = '';

  /** @param factor how much faster time runs; scrapes stay at one a second, so keep the shortest range well above that */
  static async start(target: Target, factor: number): Promise<Monitoring> {
    const monitoring = new Monitoring();
    try {
      await monitoring.startAlertmanager(factor);
      await monitoring.startPrometheus(target, factor);
    } catch (error) {
      await monitoring.stop();
      throw error;
    }
    return monitoring;
  }

  /** The alerts as Prometheus sees them, pending ones included. */
  async alerts(signal?: AbortSignal): Promise<FiringAlert[]> {
    const answer = await json<{ data: { alerts: FiringAlert[] } }>(`${this.prometheusUrl}/api/v1/alerts`, signal);
    return answer.data.alerts;
  }

  /** `Name/severity` of what fires, sorted. */
  async firing(signal?: AbortSignal): Promise<string[]> {
    const alerts = (await this.alerts(signal)).filter(({ state }) => state === 'firing');
    return [...new Set(alerts.map(({ labels }) => `${labels['alertname']}/${labels['severity']}`))].sort();
  }

  /** What Alertmanager makes of an alert: `active`, or `suppressed` by another; undefined when it has none. */
  async stateOf(alertname: string, severity: string, signal?: AbortSignal): Promise<string | undefined> {
    const url = `${this.alertmanagerUrl}/api/v2/alerts`;
    const alerts = await json<{ labels: Record<string, string>; status: { state: string } }[]>(url, signal);
    return alerts.find(({ labels }) => labels['alertname'] === alertname && labels['severity'] === severity)?.status
      .state;
  }

  /** What a receiver was told of an alert. */
  sent(receiver: string, alertname: string): Notification[] {
    return this.notifications.filter(
      (one) => one.receiver === receiver && one.alerts.some(({ labels }) => labels['alertname'] === alertname),
    );
  }

  async stop(): Promise<void> {
    await Promise.all(
      this.processes.map(async ({ child, guard }) => {
        if (child.exitCode === null && child.signalCode === null && child.pid !== undefined) {
          const ended = once(child, 'close');
          process.kill(-child.pid, 'SIGKILL');
          await ended;
        }
        guard.kill('SIGKILL');
      }),
    );
    this.receivers.closeAllConnections();
    this.receivers.close();
    rmSync(this.folder, { recursive: true, force: true });
  }

  private receive(request: IncomingMessage, response: ServerResponse): void {
    let body = '';
    request.setEncoding('utf8').on('data', (chunk: string) => {
      body += chunk;
    });
    request.on('end', () => {
      const { status, alerts } = JSON.parse(body) as Pick<Notification, 'status' | 'alerts'>;
      const receiver = request.url?.slice(1) ?? '';
      this.notifications.push({ receiver, authorization: request.headers.authorization, status, alerts });
      response.end();
    });
  }

  private async startAlertmanager(factor: number): Promise<void> {
    this.receivers.listen(0, '127.0.0.1');
    await once(this.receivers, 'listening');
    const { port } = this.receivers.address() as AddressInfo;
    let config = faster(read('alertmanager/alertmanager.yml'), factor);
    for (const name of ['page', 'ticket', 'heartbeat']) {
      config = adapted(
        config,
        [`http://alert-${name}.monitoring.svc:8080/`, `http://127.0.0.1:${port}/${name}`],
        [`/etc/alertmanager/secrets/${name}-token`, this.write(`${name}-token`, `${name}-secret`)],
      );
    }
    const listen = `127.0.0.1:${await freePort()}`;
    this.alertmanagerUrl = `http://${listen}`;
    this.spawn(ALERTMANAGER, [
      `--config.file=${this.write('alertmanager.yml', config)}`,
      `--storage.path=${this.directory('alertmanager')}`,
      `--web.listen-address=${listen}`,
      '--cluster.listen-address=',
    ]);
    await this.ready(ALERTMANAGER, this.alertmanagerUrl);
  }

  private async startPrometheus({ address, username, password }: Target, factor: number): Promise<void> {
    this.write('rules.yml', faster(read('prometheus/rules.yml'), factor));
    const config = adapted(
      read('prometheus/prometheus.yml'),
      ['scrape_interval: 15s', 'scrape_interval: 1s'],
      ['evaluation_interval: 15s', 'evaluation_interval: 1s'],
      ['scrape_timeout: 10s', 'scrape_timeout: 1s'],
      ['username: metrics', `username: ${username}`],
      ['/etc/prometheus/secrets/metrics-password', this.write('metrics-password', password)],
      ['alertmanager.monitoring.svc:9093', new URL(this.alertmanagerUrl).host],
    ).replace(/dns_sd_configs:[\s\S]*$/, `static_configs: [{targets: ['${address}']}]\n`);
    const listen = `127.0.0.1:${await freePort()}`;
    this.prometheusUrl = `http://${listen}`;
    this.spawn(PROMETHEUS, [
      `--config.file=${this.write('prometheus.yml', config)}`,
      `--storage.tsdb.path=${this.directory('prometheus')}`,
      `--web.listen-address=${listen}`,
      // What it sends before it has discovered Alertmanager is lost, and would be sent again after a minute.
      '--rules.alert.resend-delay=1s',
    ]);
    await this.ready(PROMETHEUS, this.prometheusUrl);
  }

  private write(name: string, text: string): string {
    const file = join(this.folder, name);
    writeFileSync(file, text);
    return file;
  }

  private directory(name: string): string {
    const directory = join(this.folder, `${name}-data`);
    mkdirSync(directory);
    return directory;
  }

  private spawn(name: string, args: readonly string[]): void {
    const child = spawn(name, args, { cwd: this.folder, detached: true, stdio: ['ignore', 'ignore', 'pipe'] });
    const output: string[] = [];
    child.stderr?.setEncoding('utf8').on('data', (chunk: string) => output.push(chunk));
    this.processes.push({ name, child, guard: killGroupWithUs(child.pid), output });
  }

  private async ready(name: string, url: string): Promise<void> {
    const started = this.processes.find((one) => one.name === name);
    await eventually(
      async (signal) => {
        if (started?.child.exitCode !== null) return true;
        return (await fetch(`${url}/-/ready`, { signal })).status === 200;
      },
      { deadlineMs: 30_000, label: `${name} is ready` },
    );
    if (started?.child.exitCode !== null) throw new Error(`${name} ended: ${started?.output.join('')}`);
  }
}

function read(path: string): string {
  return readFileSync(`${DEPLOY}${path}`, 'utf8');
}

async function json<T>(url: string, signal?: AbortSignal): Promise<T> {
  return (await (await fetch(url, { signal })).json()) as T;
}

import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ALERTS } from '../../deploy/prometheus/alerts.mjs';
import { groupingsIn } from '../../scripts/promql.mjs';

const CONFIG = fileURLToPath(new URL('../../deploy/alertmanager/alertmanager.yml', import.meta.url));
const config = readFileSync(CONFIG, 'utf8');
const names = ALERTS.map(({ alert }) => alert);

const RECEIVERS = { page: 'page', ticket: 'ticket', none: 'dead-mans-switch' } as const;

/** What the routing says that no alert has; one line each. */
function unknownIn(text: string): string[] {
  const labels = ['alertname', 'severity', ...ALERTS.flatMap(({ expr }) => groupingsIn(expr))];
  const values: Record<string, readonly string[]> = { alertname: names, severity: Object.keys(RECEIVERS) };
  const matchers = [...text.matchAll(/(\w+)=~?"([^"]*)"/g)].map(([, label = '', value = '']) => ({ label, value }));
  const lists = [...text.matchAll(/^ *(?:group_by|equal): \[(.*)\]$/gm)].flatMap(([, list = '']) => list.split(/, */));
  return [
    ...[...lists, ...matchers.map(({ label }) => label)]
      .filter((label) => !labels.includes(label))
      .map((label) => `no alert has the label ${label}`),
    ...matchers.flatMap(({ label, value }) =>
      value
        .split('|')
        .filter((one) => values[label] && !values[label].includes(one))
        .map((one) => `no alert has ${label} ${one}`),
    ),
  ];
}

describe('the routing of alerts', () => {
  it('is caught when it names what no alert has', () => {
    expect(unknownIn('matchers: [alertname=~"OutboxLag|OutboxSlow", severity="info"]')).toEqual([
      'no alert has alertname OutboxSlow',
      'no alert has severity info',
    ]);
    expect(unknownIn('  group_by: [alertname, tenant]')).toEqual(['no alert has the label tenant']);
  });

  it('speaks only of alerts, severities and labels that there are', () => {
    expect(config).toMatch(/source_matchers: \[alertname=/);
    expect(unknownIn(config)).toEqual([]);
  });

  it('never suppresses the promise, calls that stopped, or the dead man', () => {
    const targets = [...config.matchAll(/target_matchers: \[alertname=~?"([^"]*)"\]/g)].flatMap(([, one]) =>
      one?.split('|'),
    );
    expect(targets.length).toBeGreaterThan(4);
    for (const one of ['FirstSmsSloBreach', 'FirstSmsCallsWaiting', 'CallsStoppedArriving', 'ServiceDown', 'Watchdog'])
      expect(targets).not.toContain(one);
  });

  it('holds no secret: every credential is a file', () => {
    expect(config).not.toMatch(/(?:password|credentials|routing_key|service_key|api_url|token|secret): /);
    expect(config.match(/credentials_file: \/etc\/alertmanager\/secrets\//g)).toHaveLength(3);
  });
});

const amtool = (...args: string[]): { status: number | null; output: string } => {
  const { status, stdout, stderr } = spawnSync('amtool', args, { encoding: 'utf8', timeout: 15_000 });
  return { status, output: `${stdout}${stderr}` };
};
const withAmtool = amtool('--version').status === 0 ? it : it.skip;

describe('amtool (skipped where it is not installed: apt-get install prometheus-alertmanager)', () => {
  /** Fails, with what amtool says of it, where it goes anywhere else. */
  const goes = (labels: Record<string, string>, to: string) => {
    const matching = Object.entries(labels).map(([label, value]) => `${label}=${value}`);
    const told = amtool('config', 'routes', 'test', `--config.file=${CONFIG}`, `--verify.receivers=${to}`, ...matching);
    expect(told).toMatchObject({ status: 0, output: expect.stringMatching(new RegExp(`^${to}$`, 'm')) });
  };

  withAmtool('accepts the configuration', () => {
    expect(amtool('check-config', CONFIG)).toMatchObject({ status: 0 });
  });

  withAmtool.each(ALERTS)('$alert as $severity goes where its severity says', ({ alert, severity }) => {
    goes({ alertname: alert, severity }, RECEIVERS[severity]);
  });

  withAmtool('pages what it does not know', () => {
    goes({ alertname: 'SomebodyElses' }, 'page');
    goes({ alertname: 'SomebodyElses', severity: 'info' }, 'page');
  });

  withAmtool('refuses a configuration with a mistake in it', () => {
    const folder = mkdtempSync(join(tmpdir(), 'nmc-alertmanager-'));
    try {
      const file = join(folder, 'alertmanager.yml');
      writeFileSync(file, config.replace('- receiver: ticket\n', '- receiver: tickets\n'));
      expect(amtool('check-config', file)).toMatchObject({ status: 1, output: expect.stringContaining('tickets') });
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});

import { spawnSync } from 'node:child_process';
import { cpSync, globSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ALERTS, RECORDINGS } from '../../deploy/prometheus/alerts.mjs';
import { metricDocuments } from '../../scripts/metric-documents.mjs';
import { groupingsIn, metricsIn } from '../../scripts/promql.mjs';
import { FAILURE_CODES, METRICS, type MetricName } from '../../src/common/metrics/catalogue.js';
import { KNOWN_ERROR_CODES } from '../../src/telephony/integrations/twilio/twilio-error-codes.js';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const read = (path: string): string => readFileSync(`${ROOT}${path}`, 'utf8');
const documents = metricDocuments(METRICS);
const rules = documents['deploy/prometheus/rules.yml'] ?? '';
const recorded = new Map(
  [...rules.matchAll(/- record: (\S+)\n +expr: \|-\n +(.+)\n/g)].map(([, name = '', expr = '']) => [name, expr]),
);

/** The labels of a series: values where they are closed, else undefined. */
type Labels = Record<string, readonly string[] | undefined>;

/** What Prometheus adds to every series by itself. */
const OF_THE_SCRAPE: Labels = { job: undefined, instance: undefined };

function labelsOf(name: string): Labels | undefined {
  if (name === 'up') return OF_THE_SCRAPE;
  const recording = recorded.get(name);
  if (recording !== undefined) {
    // What it groups by is all that is left of what it reads.
    const read = Object.assign({}, ...metricsIn(recording).map((metric) => labelsOf(metric.name))) as Labels;
    return Object.fromEntries(groupingsIn(recording).map((label) => [label, read[label]]));
  }
  const [family, suffix] = name in METRICS ? [name, ''] : name.split(/(?=_(?:bucket|count|sum)$)/);
  const spec = METRICS[family as MetricName];
  if (!spec || (spec.kind === 'histogram') === (suffix === '')) return undefined;
  const own = Object.entries(spec.labels ?? {}).map(([label, values]) => [
    label,
    Array.isArray(values) ? (values as string[]) : undefined,
  ]);
  return { ...OF_THE_SCRAPE, ...(suffix === '_bucket' && { le: undefined }), ...Object.fromEntries(own) };
}

/** What an expression says that the catalogue does not know; one line each. */
function unknownIn(expr: string): string[] {
  const metrics = metricsIn(expr);
  const wrong = metrics.flatMap(({ name, matchers }) => {
    const labels = labelsOf(name);
    if (!labels) return [`${name} is no series of ours`];
    return matchers.flatMap(({ label, operator, value }) => {
      if (!(label in labels)) return [`${name} has no label ${label}`];
      const alternatives = operator === '=' || operator === '!=' ? [value] : value.split('|');
      const closed = labels[label];
      if (!closed || !alternatives.every((one) => /^\w+$/.test(one))) return [];
      return alternatives.filter((one) => !closed.includes(one)).map((one) => `${name} has no ${label} ${one}`);
    });
  });
  const known = metrics.flatMap(({ name }) => Object.keys(labelsOf(name) ?? {}));
  return [
    ...wrong,
    ...groupingsIn(expr)
      .filter((label) => !known.includes(label))
      .map((label) => `nothing here has the label ${label}`),
  ];
}

describe('an expression', () => {
  it('is caught when it names what the catalogue does not have', () => {
    expect(unknownIn('max(outbox_lag) > 60')).toEqual(['outbox_lag is no series of ours']);
    expect(unknownIn('rate(outbox_wait_ms[5m])')).toEqual(['outbox_wait_ms is no series of ours']);
    expect(unknownIn('rate(worker_queue_depth_count[5m])')).toEqual(['worker_queue_depth_count is no series of ours']);
    expect(unknownIn('twilio_messages_total{state="sent"}')).toEqual(['twilio_messages_total has no label state']);
    expect(unknownIn('twilio_messages_total{status=~"sent|gone"}')).toEqual([
      'twilio_messages_total has no status gone',
    ]);
    expect(unknownIn('nmc:slo_first_sms_bad:max{stage="network"}')).toEqual([
      'nmc:slo_first_sms_bad:max has no stage network',
    ]);
    expect(unknownIn('nmc:slo_first_sms_bad:max{instance="a"}')).toEqual([
      'nmc:slo_first_sms_bad:max has no label instance',
    ]);
    expect(unknownIn('sum by (tenant) (rate(webhook_dedupe_hits_total[5m]))')).toEqual([
      'nothing here has the label tenant',
    ]);
  });

  it('passes when all of it is there', () => {
    const expr = `histogram_quantile(0.95, sum by (le, route) (rate(http_request_duration_ms_bucket{status!~"5.."}[5m] offset 1w)))
      and on () vector(1) unless max without (instance) (up{job=~"nevermisscall.*"}) > bool 1e3 # slo_gone`;
    expect(unknownIn(expr)).toEqual([]);
    expect(metricsIn(expr).map(({ name }) => name)).toEqual(['http_request_duration_ms_bucket', 'up']);
  });
});

const names = [...new Set(ALERTS.map(({ alert }) => alert))];

describe('the alerts', () => {
  const runbooks = globSync('docs/runbooks/*.md', { cwd: ROOT });

  it('speak only of series, labels and values of the catalogue', () => {
    for (const { expr } of [...ALERTS, ...RECORDINGS])
      expect({ expr, wrong: unknownIn(expr) }).toEqual({ expr, wrong: [] });
  });

  it('include the five of the specification', () => {
    for (const name of [
      'FirstSmsSloBreach',
      'OutboxLag',
      'WebhookSignaturesFailing',
      'CalendarSyncErrors',
      'DbPoolSaturation',
    ])
      expect(names).toContain(name);
  });

  it('have a runbook each, and every runbook an alert', () => {
    expect(runbooks.map((path) => basename(path, '.md')).sort()).toEqual(names.toSorted());
  });

  it.each(runbooks)(
    '%s says what it means, where to look, what to do, when to escalate and when it is over',
    (path) => {
      const text = read(path);
      expect(text).toMatch(/^# \w+\n\n[^#]{50,}\n## Look\n.+\n## Do\n.+\n## Escalate\n.+\n## Over when\n\n./s);
      for (const [, target] of text.matchAll(/\]\((\w+\.md)\)/g)) expect(runbooks).toContain(`docs/runbooks/${target}`);
      const queries = [...text.matchAll(/```promql\n(.*?)```/gs)].flatMap(
        ([, fence]) => fence?.trim().split('\n') ?? [],
      );
      const conditions = [...text.matchAll(/`([^`\n]*[({][^`\n]*[)}][^`\n]*)`/g)].map(([, inline]) => inline ?? '');
      const measured = conditions.filter(
        (inline) => /^(?:max|min|sum|absent)\b/.test(inline) && !inline.includes('...'),
      );
      expect([...queries, ...measured].flatMap(unknownIn)).toEqual([]);
    },
  );

  it.each(names)('%s is tested to fire and, unless it always does, to be silent', (name) => {
    const tests = read('deploy/prometheus/tests.yml') + read('deploy/prometheus/tests-silence.yml');
    const cases = tests.split(/(?= {6}- eval_time:)/).filter((one) => one.includes(`alertname: ${name}\n`));
    const fires = (one: string): boolean => one.split(/ {2}- name:/)[0]?.includes('exp_alerts') === true;
    expect(cases.some(fires)).toBe(true);
    expect(cases.some((one) => !fires(one))).toBe(name !== 'Watchdog');
  });
});

describe('the generated documents', () => {
  it.each(Object.entries(documents))(
    '%s is what the catalogue and the alerts say; else run npm run gen',
    (path, text) => {
      expect(read(path)).toBe(text);
    },
  );

  it('count failures by exactly the error codes that telephony knows', () => {
    expect([...FAILURE_CODES].sort()).toEqual([...KNOWN_ERROR_CODES, 'none', 'other'].sort());
  });
});

const promtool = (...args: string[]): { status: number | null; output: string } => {
  const { status, stdout, stderr } = spawnSync('promtool', args, { encoding: 'utf8', timeout: 60_000 });
  return { status, output: `${stdout}${stderr}` };
};
const withPromtool = promtool('--version').status === 0 ? it : it.skip;

describe('promtool (skipped where it is not installed: apt-get install prometheus)', () => {
  let folder: string;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'nmc-rules-'));
    cpSync(`${ROOT}deploy/prometheus`, folder, { recursive: true });
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  const passes = (...args: string[]) => expect(promtool(...args)).toMatchObject({ status: 0 });
  /** Rewrites the copy of the rules; fails when there was nothing to rewrite. */
  const rewrite = (...changes: (readonly [from: string, to: string])[]): void => {
    let text = rules;
    for (const [from, to] of changes) {
      expect(text.split(from)).toHaveLength(2);
      text = text.replace(from, to);
    }
    writeFileSync(join(folder, 'rules.yml'), text);
  };

  withPromtool('accepts the rules', () => {
    passes('check', 'rules', `${ROOT}deploy/prometheus/rules.yml`);
  });

  withPromtool('accepts the scrape configuration', () => {
    // Syntax only: the password is a file that only a deployment has.
    passes('check', 'config', '--syntax-only', `${ROOT}deploy/prometheus/prometheus.yml`);
  });

  withPromtool('sees every alert fire when it must and stay silent on what looks like it', () => {
    passes('test', 'rules', `${ROOT}deploy/prometheus/tests.yml`);
  });

  withPromtool('sees calls stop, with a week played as 65 minutes', () => {
    rewrite(['offset 1w', 'offset 65m']);
    passes('test', 'rules', join(folder, 'tests-silence.yml'));
  });

  withPromtool('sees its tests fail on the literal wording of the specification, and on other mistakes', () => {
    rewrite(
      ['max(slo_first_sms_p95_seconds) > 5\n        for', 'slo_first_sms_p95_seconds > 5\n        for'],
      ['max(slo_first_sms_open_breached_calls) >= 3', 'max(slo_first_sms_open_breached_calls) > 0'],
      ['max(outbox_dispatch_lag_seconds) > 60', 'outbox_dispatch_lag_seconds > 60'],
      ['sum by (provider) (rate(webhook_signature_failures_total[5m])) * 60', 'webhook_signature_failures_total'],
      ['sum(increase(calendar_sync_errors_total[10m])) > 0', 'calendar_sync_errors_total > 0'],
      ['db_connections_in_use / db_connections_max', 'max(db_connections_in_use) / max(db_connections_max)'],
      ['sum(db_connections_in_use) /', 'max(db_connections_in_use) /'],
      ['\n              and max by (slo) (slo_bad_calls{window="6h"}) >= 3', ''],
      ['\n            and max by (slo) (slo_burn_rate{window="6h"}) > 1', ''],
      ['max by (collector)\n            (nmc_collector', 'min by (collector)\n            (nmc_collector'],
      ['max by (provider) (provider_breaker_open)', 'sum by (provider) (provider_breaker_open)'],
      ['min by (instance) (outbox_dispatcher_up) == 0', 'outbox_dispatcher_up < 2'],
      ['max(outbox_dead_letters) > 0', 'sum(outbox_dead_letters) > 0'],
      ['max(db_oldest_snapshot_age_seconds) > 900', 'max(db_oldest_snapshot_age_seconds) > 0'],
      ['up{job=~"nevermisscall.*"} == 0', 'up == 0'],
      ['absent(up{job=~"nevermisscall.*"} == 1)', 'absent(up{job=~"nevermisscall.*"})'],
      ['min by (collector) (nmc_collector_last', 'max by (collector) (nmc_collector_last'],
    );
    const { output } = promtool('test', 'rules', join(folder, 'tests.yml'));
    const caught = new Set([...output.matchAll(/alertname: ?(\w+), time/g)].map(([, name]) => name));
    expect([...caught].sort()).toEqual(
      names.filter((name) => !['CallsStoppedArriving', 'SeriesAbsent', 'Watchdog'].includes(name)).sort(),
    );
  });

  withPromtool('sees its tests fail when one error of a calendar is taken for many', () => {
    rewrite(['calendar_sync_errors_total[10m]', 'calendar_sync_errors_total[30m]']);
    expect(promtool('test', 'rules', join(folder, 'tests.yml')).output).toContain('alertname: CalendarSyncErrors');
  });
});

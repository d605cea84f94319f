/** The documents that say what the metrics are, rendered from the catalogue and the alerts. */
import { ALERTS, RECORDINGS } from '../deploy/prometheus/alerts.mjs';

const GENERATED =
  'Generated from src/common/metrics/catalogue.ts and deploy/prometheus/alerts.mjs by `npm run gen`; do not edit.';

/** A string as YAML, which reads all of JSON's. */
const quoted = (text) => JSON.stringify(text);
const block = (text, indent) => `|-\n${text.replace(/^/gm, ' '.repeat(indent))}`;

/** What may stand for a label: its closed values, or how an open one is bounded. */
const OPEN_LABELS = {
  route: 'a route template, or `unmatched`',
  status: 'an HTTP status code; towards providers also `timeout` and `network`',
  endpoint: 'an operation id such as `messages.create`',
  version: 'the version in package.json',
};

const FROM_DATABASE = 'from the database, the same in every replica: take `max` first';
const OF_PROCESS = 'of each process: `rate` or `increase` first, then `sum`';
/** How to add up replicas. */
const ORIGIN = {
  shared: { counter: FROM_DATABASE, gauge: FROM_DATABASE },
  process: { counter: OF_PROCESS, histogram: OF_PROCESS, gauge: 'of each process' },
};

function labelLine(label, values) {
  if (Array.isArray(values)) return `\`${label}\`: ${values.map((value) => `\`${value}\``).join(' ')}`;
  if (!OPEN_LABELS[label]) throw new Error(`say in scripts/metric-documents.mjs what bounds the open label ${label}`);
  return `\`${label}\`: ${OPEN_LABELS[label]}`;
}

function metricsPage(metrics) {
  const entries = Object.entries(metrics).sort(([a], [b]) => (a < b ? -1 : 1));
  const index = entries.map(
    ([name, { kind, unit, scope, labels }]) =>
      `| [\`${name}\`](#${name}) | ${kind} | ${unit} | ${scope ?? 'process'} | ${Object.keys(labels ?? {}).join(', ')} |`,
  );
  const sections = entries.map(([name, { kind, unit, scope, help, labels, buckets }]) =>
    [
      `### ${name}`,
      '',
      help,
      '',
      `- ${kind}, in ${unit}, ${ORIGIN[scope ?? 'process'][kind]}`,
      ...Object.entries(labels ?? {}).map(([label, values]) => `- ${labelLine(label, values)}`),
      ...(buckets ? [`- buckets: ${buckets.join(' ')}`] : []),
    ].join('\n'),
  );
  return `<!-- ${GENERATED} -->

# Metrics

Everything that \`GET /metrics\` serves beside Node's own \`process_*\` and \`nodejs_*\`. Counters and histograms of a
process with closed labels exist at zero from its start; gauges, and counters that the database keeps, exist once they
are known. Never a tenant, a phone or an id as a label.

| name | kind | unit | scope | labels |
|---|---|---|---|---|
${index.join('\n')}

${sections.join('\n\n')}
`;
}

/** Counters that the database keeps are equal on all replicas: the maximum first, rates of that. */
function sharedCounters(metrics) {
  return Object.entries(metrics)
    .filter(([, { kind, scope }]) => kind === 'counter' && scope === 'shared')
    .map(([name, { labels }]) => {
      const by = Object.keys(labels ?? {});
      const record = `nmc:${name.replace(/_total$/, '')}:max`;
      return { record, expr: by.length === 0 ? `max(${name})` : `max by (${by.join(', ')}) (${name})` };
    });
}

function rules(metrics) {
  const recordings = [...sharedCounters(metrics), ...RECORDINGS].map(
    ({ record, expr }) => `      - record: ${record}\n        expr: ${block(expr, 10)}`,
  );
  const alerts = ALERTS.map((alert) =>
    [
      `      - alert: ${alert.alert}`,
      `        expr: ${block(alert.expr, 10)}`,
      ...(alert.for ? [`        for: ${alert.for}`] : []),
      `        labels:`,
      `          severity: ${alert.severity}`,
      `        annotations:`,
      `          summary: ${quoted(alert.summary)}`,
      `          runbook_url: docs/runbooks/${alert.alert}.md`,
    ].join('\n'),
  );
  return `# ${GENERATED}
groups:
  - name: nevermisscall-recordings
    interval: 30s
    rules:
${recordings.join('\n')}
  - name: nevermisscall-alerts
    interval: 30s
    rules:
${alerts.join('\n')}
`;
}

/** The agent's OpenMetrics check takes counters without their suffix. */
function allowList(metrics) {
  const names = Object.keys(metrics)
    .map((name) => name.replace(/_total$/, ''))
    .sort();
  return `# ${GENERATED}
# For the Datadog agent's OpenMetrics check: put it under \`metrics\` of an instance with \`openmetrics_endpoint\`.
# Each name is a regular expression, hence the anchors; counters are named without their _total.
metrics:
${names.map((name) => `  - ^${name}$`).join('\n')}
`;
}

/**
 * Every generated document, by its path from the root.
 * @param metrics METRICS of the catalogue
 */
export function metricDocuments(metrics) {
  return {
    'docs/metrics.md': metricsPage(metrics),
    'deploy/prometheus/rules.yml': rules(metrics),
    'deploy/datadog/openmetrics-allow-list.yml': allowList(metrics),
  };
}

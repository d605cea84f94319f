import { metricsIn } from '../../scripts/promql.mjs';

/**
 * The alerts, as data; `npm run gen` writes rules.yml from them.
 *
 * Figures from the database are the same on every replica: take `max`. Counters of a process are each replica's own:
 * take `rate` or `increase`, then `sum`. A counter is never compared with a number by itself: it would fire for ever.
 *
 * `page` wakes somebody, `ticket` waits for the morning, `none` is for the dead man's switch. Where an alert exists in
 * two severities, let Alertmanager inhibit the ticket by the page of the same name.
 * Every alert has a runbook of its name in docs/runbooks.
 */

/** @type {import('./alerts.mjs').Alert[]} */
const PROMISE = [
  {
    alert: 'FirstSmsSloBreach',
    severity: 'page',
    // In a quiet hour one slow text is the whole percentile: that alone wakes nobody.
    expr: `max(slo_first_sms_p95_seconds) > 5
  and (max(slo_first_sms_window_calls) >= 5 or max(slo_first_sms_open_breached_calls) > 0)`,
    for: '10m',
    summary: 'P95 from missed call to first text is {{ $value | humanizeDuration }} (promised: 5s)',
  },
  {
    alert: 'FirstSmsSloBreach',
    severity: 'ticket',
    expr: 'max(slo_first_sms_p95_seconds) > 5',
    for: '10m',
    summary: 'P95 from missed call to first text is {{ $value | humanizeDuration }} (promised: 5s)',
  },
  {
    alert: 'FirstSmsCallsWaiting',
    severity: 'page',
    // One alone may have a number that takes no texts; FirstSmsSloBreach waits longer for it.
    expr: 'max(slo_first_sms_open_breached_calls) >= 3',
    for: '2m',
    summary: '{{ $value }} callers of the last 15 minutes still have no text',
  },
  {
    alert: 'ErrorBudgetBurnFast',
    severity: 'page',
    // The short window ends the alert soon after the fault. One bad call in a quiet hour is a burn of 20 or 200: three.
    expr: `(max by (slo) (slo_burn_rate{window="1h"}) > 14.4
    and max by (slo) (slo_burn_rate{window="5m"}) > 14.4
    and max by (slo) (slo_bad_calls{window="1h"}) >= 3)
  or (max by (slo) (slo_burn_rate{window="6h"}) > 6
    and max by (slo) (slo_burn_rate{window="30m"}) > 6
    and max by (slo) (slo_bad_calls{window="6h"}) >= 3)`,
    for: '1m',
    summary: 'The error budget of {{ $labels.slo }} burns {{ $value | humanize }} times faster than it may',
  },
  {
    alert: 'ErrorBudgetBurnSlow',
    severity: 'ticket',
    expr: `max by (slo) (slo_burn_rate{window="3d"}) > 1
  and max by (slo) (slo_burn_rate{window="6h"}) > 1
  and max by (slo) (slo_bad_calls{window="3d"}) >= 3`,
    for: '15m',
    summary:
      'For three days the error budget of {{ $labels.slo }} has burnt {{ $value | humanize }} times faster than it may',
  },
  {
    alert: 'CallsStoppedArriving',
    severity: 'page',
    // A broken webhook URL makes no error anywhere: nothing arrives, and every objective stays green.
    expr: `(nmc:voice_webhooks:increase1h == 0) and (nmc:voice_webhooks:increase1h offset 1w > 10)`,
    for: '15m',
    summary: 'No call has arrived for an hour; a week ago there were more than ten in it',
  },
];

/** @type {import('./alerts.mjs').Alert[]} */
const DELIVERY = [
  {
    alert: 'OutboxLag',
    severity: 'page',
    expr: 'max(outbox_dispatch_lag_seconds) > 60',
    for: '10m',
    summary: 'The oldest undelivered event is {{ $value | humanizeDuration }} late',
  },
  {
    alert: 'OutboxDispatcherDown',
    severity: 'ticket',
    // Others do its work meanwhile; where none can, callers wait and page by themselves.
    expr: 'min by (instance) (outbox_dispatcher_up) == 0',
    for: '5m',
    summary: '{{ $labels.instance }} has had no session for its deliveries for five minutes, and runs none',
  },
  {
    alert: 'OutboxDeadLetters',
    severity: 'ticket',
    expr: 'max(outbox_dead_letters) > 0',
    for: '5m',
    summary: '{{ $value }} deliveries gave up and wait for a person',
  },
  {
    alert: 'VacuumHeldUp',
    severity: 'ticket',
    // A slot or a standby has no age in seconds; a million transactions are an hour of a busy day. The dead rows
    // speak where nobody holds anything, and vacuum does not run all the same.
    expr: `max(db_oldest_snapshot_age_seconds) > 900
  or max(db_oldest_xmin_age_transactions) > 1000000
  or max(outbox_dead_tuples) > 100000`,
    for: '10m',
    summary: 'Vacuum cannot clean up behind the outbox: claims will become slower and slower',
  },
  {
    alert: 'ProviderBreakerOpen',
    severity: 'ticket',
    // Callers who wait because of it page by themselves.
    expr: 'max by (provider) (provider_breaker_open) > 0',
    for: '5m',
    summary:
      '{{ $value }} accounts at {{ $labels.provider }} have been left alone for five minutes: down, or credentials refused',
  },
  {
    alert: 'WebhookSignaturesFailing',
    severity: 'page',
    expr: 'sum by (provider) (rate(webhook_signature_failures_total[5m])) * 60 > 10',
    for: '5m',
    summary: '{{ $value | humanize }} webhooks a minute from {{ $labels.provider }} are refused for their signature',
  },
  {
    alert: 'CalendarSyncErrors',
    severity: 'ticket',
    // The range is shorter than `for`: one error never fires, errors that go on do.
    expr: 'sum(increase(calendar_sync_errors_total[10m])) > 0',
    for: '15m',
    summary: 'Calendar sync has been failing for 15 minutes',
  },
];

/** @type {import('./alerts.mjs').Alert[]} */
const SATURATION = [
  {
    alert: 'DbPoolSaturation',
    severity: 'page',
    expr: 'db_connections_in_use / db_connections_max > 0.8',
    for: '10m',
    summary: 'The connection pool of {{ $labels.instance }} is {{ $value | humanizePercentage }} used',
  },
  {
    alert: 'DbServerSaturation',
    severity: 'page',
    expr: 'sum(db_connections_in_use) / max(db_server_connections_max) > 0.8',
    for: '10m',
    summary: 'All replicas together use {{ $value | humanizePercentage }} of the connections that Postgres allows',
  },
];

/** @type {import('./alerts.mjs').Alert[]} */
const TELEMETRY = [
  {
    alert: 'TargetDown',
    severity: 'page',
    expr: 'up{job=~"nevermisscall.*"} == 0',
    for: '5m',
    summary: '{{ $labels.instance }} cannot be scraped',
  },
  {
    alert: 'ServiceDown',
    severity: 'page',
    // Of its own, so that Alertmanager can take it as the cause of what is absent then; one replica down is none.
    expr: 'absent(up{job=~"nevermisscall.*"} == 1)',
    for: '2m',
    summary: 'No replica can be scraped',
  },
  {
    alert: 'CollectorFailing',
    severity: 'ticket',
    expr: `min by (collector) (nmc_collector_up) == 0
  or time() - min by (collector) (nmc_collector_last_success_timestamp_seconds) > 120`,
    for: '5m',
    summary: 'The figures of {{ $labels.collector }} are missing or old',
  },
  {
    alert: 'FiguresStale',
    severity: 'page',
    // No replica computes them any more, and what is not dropped stays as it was: green for ever.
    expr: `time() - max by (collector)
  (nmc_collector_last_success_timestamp_seconds{collector=~"slo_first_sms|slo_booking|slo_budget|outbox"}) > 120`,
    for: '5m',
    summary: 'No replica has computed the figures of {{ $labels.collector }} for {{ $value | humanizeDuration }}',
  },
  {
    alert: 'Watchdog',
    severity: 'none',
    expr: 'vector(1)',
    summary: 'Always fires: its silence means that alerting itself is down',
  },
];

/** @type {import('./alerts.mjs').Alert[]} */
const WATCHING = [...PROMISE, ...DELIVERY, ...SATURATION, ...TELEMETRY];

/**
 * Metrics whose absence is no alarm: rightly absent until something happened, or, where Postgres hides sessions from
 * us, left out on purpose, which is a ticket of CollectorFailing and nobody's night.
 */
export const BORN_LATE = [
  'webhook_handler_duration_ms_count',
  'db_oldest_snapshot_age_seconds',
  'db_oldest_xmin_age_transactions',
];
/** Not ours: Prometheus's own. */
const FOREIGN = ['up'];

const watched = [...new Set(WATCHING.flatMap(({ expr }) => metricsIn(expr).map(({ name }) => name)))]
  .filter((name) => !name.startsWith('nmc:') && !BORN_LATE.includes(name) && !FOREIGN.includes(name))
  .sort();

/** @type {import('./alerts.mjs').Alert[]} */
export const ALERTS = [
  ...WATCHING,
  {
    alert: 'SeriesAbsent',
    severity: 'page',
    // An alert over a series that is not there is silent for ever.
    expr: watched.map((name) => `label_replace(absent(${name}), "metric", "${name}", "", "")`).join('\n  or '),
    for: '10m',
    summary: '{{ $labels.metric }}, which alerts depend on, is absent',
  },
];

/** Series worth keeping under a name. Those that take the maximum of a shared counter are added from the catalogue. */
export const RECORDINGS = [
  {
    record: 'nmc:voice_webhooks:increase1h',
    // Refused calls do not count, and no series at all is no call.
    expr: `sum(increase(webhook_handler_duration_ms_count{endpoint="voice",status="200"}[1h])) or vector(0)`,
  },
];

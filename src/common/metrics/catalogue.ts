/**
 * Every metric of the service: name, kind, unit, help, closed label values and buckets, as plain data.
 * Registration, documentation, rules and dashboards come from here. The names of the specification are exact.
 */

import {
  COLLECTORS,
  EVENT_NAMES,
  FAILURE_CODES,
  HTTP_METHODS,
  type HttpStatusLabel,
  MESSAGE_STATUSES,
  type OperationId,
  PROJECTORS,
  PROVIDERS,
  type ProviderStatus,
  type RouteTemplate,
  SUPPRESSION_REASONS,
  type Version,
  WEBHOOK_ENDPOINTS,
} from './labels.js';
import { DURATION, type MetricSpec, type OpenLabel, open } from './metric-spec.js';
import { PROMISE_METRICS } from './promise-metrics.js';

/** A metric and the values of its labels are one vocabulary, with one door. */
export * from './labels.js';

export const CATALOGUE = {
  http_request_duration_ms: {
    ...DURATION,
    help: 'Time from request received to response sent.',
    labels: { route: open<RouteTemplate>(), method: HTTP_METHODS, status: open<HttpStatusLabel>() },
  },
  webhook_handler_duration_ms: {
    ...DURATION,
    help: 'Time a provider webhook took, refusals included.',
    labels: { provider: PROVIDERS, endpoint: WEBHOOK_ENDPOINTS, status: open<HttpStatusLabel>() },
  },
  scheduling_search_duration_ms: { ...DURATION, help: 'Time to find free slots.' },
  scheduling_book_duration_ms: { ...DURATION, help: 'Time to turn a hold into an appointment.' },
  booking_post_duration_ms: {
    ...DURATION,
    help: 'Time of the booking API, third parties included; only requests that its objective counts.',
  },
  booking_post_own_duration_ms: {
    ...DURATION,
    help: 'Time of the booking API without the time spent waiting for third parties; only requests that its objective counts.',
  },
  ai_pipeline_duration_ms: { ...DURATION, help: 'Time to understand one text, whoever answered.' },
  ai_pipeline_fallbacks_total: {
    kind: 'counter',
    unit: 'texts',
    help: 'Texts that the built-in rules understood because the model did not.',
    labels: { reason: ['timeout', 'unavailable', 'invalid_answer', 'breaker_open'] },
  },
  webhook_dedupe_hits_total: {
    kind: 'counter',
    unit: 'webhooks',
    help: 'Webhooks answered from the record of an earlier, identical one.',
    labels: { provider: PROVIDERS },
  },
  webhook_signature_failures_total: {
    kind: 'counter',
    unit: 'webhooks',
    help: 'Webhooks refused for a missing or wrong signature.',
    labels: { provider: PROVIDERS },
  },
  integration_http_requests_total: {
    kind: 'counter',
    unit: 'requests',
    help: 'Requests to providers by outcome.',
    labels: { provider: PROVIDERS, endpoint: open<OperationId>(), status: open<ProviderStatus>() },
  },
  integration_http_latency_ms: {
    ...DURATION,
    help: 'Time a provider took to answer, or to fail.',
    labels: { provider: PROVIDERS, endpoint: open<OperationId>() },
  },
  provider_breaker_open: {
    kind: 'gauge',
    unit: 'accounts',
    help: 'Accounts that this process leaves alone, because the provider is down or refuses their credentials.',
    labels: { provider: PROVIDERS },
  },
  provider_throttled_total: {
    kind: 'counter',
    unit: 'requests',
    help: 'Requests refused with 429; each one slows the requests of its account down.',
    labels: { provider: PROVIDERS },
  },
  outbox_dispatch_lag_seconds: {
    kind: 'gauge',
    unit: 's',
    help: 'Age of the oldest due, undelivered row; 0 when nothing is due.',
    scope: 'shared',
  },
  worker_queue_depth: { kind: 'gauge', unit: 'rows', help: 'Outbox deliveries due and not yet done.', scope: 'shared' },
  outbox_dead_letters: {
    kind: 'gauge',
    unit: 'rows',
    help: 'Deliveries that gave up and wait for a person.',
    scope: 'shared',
  },
  outbox_dead_tuples: {
    kind: 'gauge',
    unit: 'rows',
    help: 'Dead rows of outbox_deliveries that vacuum has not removed yet, as Postgres estimates them.',
    scope: 'shared',
  },
  outbox_dispatch_attempts_total: {
    kind: 'counter',
    unit: 'attempts',
    help: 'Handler runs, the first one included.',
    labels: { event_name: EVENT_NAMES },
  },
  outbox_dispatch_failures_total: {
    kind: 'counter',
    unit: 'attempts',
    help: 'Handler runs that threw.',
    labels: { event_name: EVENT_NAMES },
  },
  outbox_dispatch_duration_ms: { ...DURATION, help: 'Time a handler ran.', labels: { event_name: EVENT_NAMES } },
  outbox_wait_ms: {
    ...DURATION,
    help: 'Time from due to the start of the handler, first attempts only.',
    labels: { event_name: EVENT_NAMES },
  },
  outbox_leases_lost_total: {
    kind: 'counter',
    unit: 'rows',
    help: 'Results refused because another process had taken the delivery over.',
  },
  outbox_rescues_total: { kind: 'counter', unit: 'rows', help: 'Deliveries taken over from a process that died.' },
  outbox_dispatcher_up: {
    kind: 'gauge',
    unit: 'bool',
    help: '1 while this process has a session to run deliveries by; absent where it runs none.',
  },
  outbox_notifications_total: {
    kind: 'counter',
    unit: 'notifications',
    help: 'Wake-ups of other processes: sent, spared because one was about to go out, and received from any.',
    labels: { kind: ['sent', 'spared', 'received'] },
  },
  reporting_projector_lag_seconds: {
    kind: 'gauge',
    unit: 's',
    help: 'Age of the oldest event that reporting has not taken in; 0 when there is none.',
    scope: 'shared',
  },
  reporting_projection_errors_total: {
    kind: 'counter',
    unit: 'events',
    help: 'Events that a projector failed on, every attempt counted.',
    labels: { projector: PROJECTORS },
  },
  ...PROMISE_METRICS,
  first_sms_latency_ms: { ...DURATION, help: 'Missed call to first text accepted, answered calls only.' },
  twilio_messages_total: {
    kind: 'counter',
    unit: 'messages',
    help: 'Outbound texts by the state they reached; a state that the provider skipped is not counted.',
    labels: { status: MESSAGE_STATUSES },
  },
  twilio_message_failures_total: {
    kind: 'counter',
    unit: 'messages',
    help: 'Outbound texts that were refused, failed or not delivered, by error code.',
    labels: { error_code: FAILURE_CODES },
  },
  twilio_resends_total: {
    kind: 'counter',
    unit: 'messages',
    help: 'Texts sent again after an ambiguous outcome that reconciliation could not find.',
  },
  telephony_replies_suppressed_total: {
    kind: 'counter',
    unit: 'calls',
    help: 'Missed calls that get no text, by reason.',
    labels: { reason: SUPPRESSION_REASONS },
  },
  compliance_opt_outs_total: {
    kind: 'counter',
    unit: 'people',
    help: 'People who must not be texted any more, recorded by this process.',
  },
  scheduling_hold_success_total: { kind: 'counter', unit: 'holds', help: 'Slots held.' },
  scheduling_hold_conflict_total: { kind: 'counter', unit: 'holds', help: 'Holds refused because the slot was taken.' },
  scheduling_holds_expired_total: {
    kind: 'counter',
    unit: 'holds',
    help: 'Holds that ran out before they were booked.',
  },
  scheduling_book_conflict_total: {
    kind: 'counter',
    unit: 'bookings',
    help: 'Bookings refused because the slot was taken.',
  },
  calendar_sync_errors_total: { kind: 'counter', unit: 'errors', help: 'Failed exchanges with a connected calendar.' },
  kpi_calls_detected_total: {
    kind: 'counter',
    unit: 'calls',
    help: 'Missed calls detected, over all time.',
    scope: 'shared',
  },
  kpi_conversations_started_total: {
    kind: 'counter',
    unit: 'conversations',
    help: 'Conversations started, over all time.',
    scope: 'shared',
  },
  kpi_appointments_booked_total: {
    kind: 'counter',
    unit: 'appointments',
    help: 'Appointments booked, over all time.',
    scope: 'shared',
  },
  kpi_attributed_revenue_cents_total: {
    kind: 'counter',
    unit: 'cents',
    help: 'Revenue attributed to recovered calls, gross, over all time.',
    scope: 'shared',
  },
  kpi_refunded_revenue_cents_total: {
    kind: 'counter',
    unit: 'cents',
    help: 'Attributed revenue that was given back, over all time.',
    scope: 'shared',
  },
  db_connections_in_use: {
    kind: 'gauge',
    unit: 'connections',
    help: 'Pooled connections checked out by this process.',
  },
  db_connections_max: { kind: 'gauge', unit: 'connections', help: 'Pool size of this process.' },
  db_connections_waiting: { kind: 'gauge', unit: 'requests', help: 'Requests waiting for a pooled connection.' },
  db_server_connections_max: {
    kind: 'gauge',
    unit: 'connections',
    help: 'Connections that the Postgres server allows, for all its clients together.',
    scope: 'shared',
  },
  db_oldest_snapshot_age_seconds: {
    kind: 'gauge',
    unit: 's',
    help: 'Age of the oldest transaction, open or prepared, that keeps vacuum from removing dead rows; 0 without one. Absent while sessions of other roles are hidden from ours: grant pg_read_all_stats.',
    scope: 'shared',
  },
  db_oldest_xmin_age_transactions: {
    kind: 'gauge',
    unit: 'transactions',
    help: 'Transactions begun since the oldest one that vacuum must still respect: for a session, a standby, a replication slot or a prepared transaction. Absent while sessions of other roles are hidden from ours.',
    scope: 'shared',
  },
  cpu_utilization_percent: {
    kind: 'gauge',
    unit: '%',
    help: 'Processor time of this process, of the limit of its cgroup, else of the host.',
  },
  memory_utilization_percent: {
    kind: 'gauge',
    unit: '%',
    help: 'Resident memory of this process, of the limit of its cgroup, else of the host.',
  },
  log_redactions_total: {
    kind: 'counter',
    unit: 'matches',
    help: 'Pieces of personal data or secrets masked on their way to the log.',
    labels: { kind: ['phone', 'email', 'secret', 'body'] },
  },
  log_lines_suppressed_total: {
    kind: 'counter',
    unit: 'lines',
    help: 'Log lines withheld because the redactor failed.',
  },
  log_unmasked_active: {
    kind: 'gauge',
    unit: 'bool',
    help: '1 while this process also writes its log unmasked to a file.',
  },
  log_unmasked_lines_total: {
    kind: 'counter',
    unit: 'lines',
    help: 'Log lines written unmasked to a file that expires.',
  },
  trace_promotions_total: {
    kind: 'counter',
    unit: 'traces',
    help: 'Traces outside the sample that were exported all the same, by reason.',
    labels: { reason: ['error', 'slo_breach', 'elsewhere'] },
  },
  trace_buffer_evictions_total: {
    kind: 'counter',
    unit: 'spans',
    help: 'Spans dropped from the buffer before their trace was decided.',
  },
  nmc_collector_up: {
    kind: 'gauge',
    unit: 'bool',
    help: '1 when the collector succeeded last time.',
    labels: { collector: COLLECTORS },
  },
  nmc_collector_last_success_timestamp_seconds: {
    kind: 'gauge',
    unit: 's',
    help: 'When the collector last succeeded.',
    labels: { collector: COLLECTORS },
  },
  nmc_scrape_duration_ms: { kind: 'gauge', unit: 'ms', help: 'Time to render the previous scrape.' },
  nmc_build_info: {
    kind: 'gauge',
    unit: 'info',
    help: 'Always 1; the version and role of the process.',
    labels: { version: open<Version>(), role: ['all', 'web', 'worker'] },
  },
} as const satisfies Record<string, MetricSpec>;

export type MetricName = keyof typeof CATALOGUE;
type Spec<N extends MetricName> = (typeof CATALOGUE)[N];
type NamesOf<K extends MetricSpec['kind']> = {
  [N in MetricName]: Spec<N>['kind'] extends K ? N : never;
}[MetricName];
export type CounterName = NamesOf<'counter'>;
export type GaugeName = NamesOf<'gauge'>;
export type HistogramName = NamesOf<'histogram'>;

type LabelValue<L> = L extends readonly (infer V extends string)[] ? V : L extends OpenLabel<infer V> ? V : never;
/** Exactly the labels of a metric, each with its closed or branded values. */
export type LabelsOf<N extends MetricName> =
  Spec<N> extends { labels: infer L } ? { [K in keyof L]: LabelValue<L[K]> } : Record<never, never>;

/** The catalogue as plain specs, for code that walks it. */
export const METRICS: Readonly<Record<MetricName, MetricSpec>> = CATALOGUE;

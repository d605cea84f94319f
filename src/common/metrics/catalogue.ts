/**
 * Every metric of the service: name, kind, unit, help, closed label values and buckets, as plain data.
 * Registration, documentation, rules and dashboards come from here. The names of the specification are exact.
 */

/** Label values that are bounded but not enumerable here; the brand keeps free strings out. */
declare const brand: unique symbol;
type Branded<B extends string> = string & { readonly [brand]: B };

/** A route template (`/v1/conversations/:id`) or `unmatched`; never a URL. */
export type RouteTemplate = Branded<'route'>;
/** The version in package.json. */
export type Version = Branded<'version'>;
/** An HTTP status code as text. */
export type HttpStatusLabel = `${number}`;
/** What a provider answered: its status code, or why there is none. */
export type ProviderStatus = HttpStatusLabel | 'timeout' | 'network';
/** An operation of a provider (`messages.create`), declared by a `@ProviderCall`. */
export type OperationId = `${string}.${string}`;

export const EVENT_NAMES = [
  'nmc.telephony.CallDetected',
  'nmc.telephony.CallReplySuppressed',
  'nmc.telephony.CallReplyDeferred',
  'nmc.telephony.InboundSmsReceived',
  'nmc.telephony.OutboundSmsQueued',
  'nmc.telephony.OutboundSmsFailed',
  'nmc.telephony.DeliveryUpdated',
  'nmc.conversation.ConversationStarted',
  'nmc.compliance.OptOutRecorded',
  'nmc.compliance.OptInRecorded',
] as const;
/** The wire names of our events; an event outside this list does not compile. */
export type EventName = (typeof EVENT_NAMES)[number];

export const PROVIDERS = ['twilio', 'stripe', 'google', 'jobber', 'ai'] as const;
export type Provider = (typeof PROVIDERS)[number];

export const HTTP_METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', '_OTHER'] as const;
export const WEBHOOK_ENDPOINTS = ['voice', 'dial_result', 'voice_status', 'sms_inbound', 'sms_status'] as const;
export type WebhookEndpoint = (typeof WEBHOOK_ENDPOINTS)[number];
export const COLLECTORS = ['slo_first_sms', 'outbox', 'db_pool'] as const;
export type Collector = (typeof COLLECTORS)[number];

const BUCKETS_MS = [5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000];

type OpenLabel<T extends string> = { readonly open: true; readonly __type?: T };
const open = <T extends string>(): OpenLabel<T> => ({ open: true });
type LabelSpec = readonly string[] | OpenLabel<string>;

interface MetricSpec {
  readonly kind: 'counter' | 'gauge' | 'histogram';
  readonly unit: string;
  readonly help: string;
  readonly labels?: Readonly<Record<string, LabelSpec>>;
  readonly buckets?: readonly number[];
  /** `shared`: computed from the database, the same on every replica; `process` otherwise. */
  readonly scope?: 'process' | 'shared';
}

export const CATALOGUE = {
  http_request_duration_ms: {
    kind: 'histogram',
    unit: 'ms',
    help: 'Time from request received to response sent.',
    labels: { route: open<RouteTemplate>(), method: HTTP_METHODS, status: open<HttpStatusLabel>() },
    buckets: BUCKETS_MS,
  },
  webhook_handler_duration_ms: {
    kind: 'histogram',
    unit: 'ms',
    help: 'Time a provider webhook took, refusals included.',
    labels: { provider: PROVIDERS, endpoint: WEBHOOK_ENDPOINTS, status: open<HttpStatusLabel>() },
    buckets: BUCKETS_MS,
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
    kind: 'histogram',
    unit: 'ms',
    help: 'Time a provider took to answer, or to fail.',
    labels: { provider: PROVIDERS, endpoint: open<OperationId>() },
    buckets: BUCKETS_MS,
  },
  outbox_dispatch_lag_seconds: {
    kind: 'gauge',
    unit: 's',
    help: 'Age of the oldest due, undelivered row; 0 when nothing is due.',
    scope: 'shared',
  },
  worker_queue_depth: {
    kind: 'gauge',
    unit: 'rows',
    help: 'Outbox deliveries due and not yet done.',
    scope: 'shared',
  },
  outbox_dead_letters: {
    kind: 'gauge',
    unit: 'rows',
    help: 'Deliveries that gave up and wait for a person.',
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
  outbox_dispatch_duration_ms: {
    kind: 'histogram',
    unit: 'ms',
    help: 'Time a handler ran.',
    labels: { event_name: EVENT_NAMES },
    buckets: BUCKETS_MS,
  },
  outbox_wait_ms: {
    kind: 'histogram',
    unit: 'ms',
    help: 'Time from due to the start of the handler, first attempts only.',
    labels: { event_name: EVENT_NAMES },
    buckets: BUCKETS_MS,
  },
  outbox_leases_lost_total: {
    kind: 'counter',
    unit: 'rows',
    help: 'Results refused because another process had taken the delivery over.',
  },
  outbox_rescues_total: {
    kind: 'counter',
    unit: 'rows',
    help: 'Deliveries taken over from a process that died.',
  },
  slo_first_sms_p95_seconds: {
    kind: 'gauge',
    unit: 's',
    help: 'P95 of missed call to first text accepted, rolling 15 minutes, open calls at their present age; NaN without calls.',
    scope: 'shared',
  },
  slo_first_sms_window_calls: {
    kind: 'gauge',
    unit: 'calls',
    help: 'Decided, eligible calls behind slo_first_sms_p95_seconds.',
    scope: 'shared',
  },
  slo_first_sms_open_breached_calls: {
    kind: 'gauge',
    unit: 'calls',
    help: 'Calls in the window still without their text after 5 s.',
    scope: 'shared',
  },
  first_sms_latency_ms: {
    kind: 'histogram',
    unit: 'ms',
    help: 'Missed call to first text accepted, answered calls only.',
    buckets: BUCKETS_MS,
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
    labels: {
      reason: [
        'withheld',
        'short_code',
        'alphanumeric',
        'toll_free',
        'not_a_phone',
        'own_number',
        'platform_number',
        'opted_out',
        'not_registered',
        'repeat',
      ],
    },
  },
  db_connections_in_use: {
    kind: 'gauge',
    unit: 'connections',
    help: 'Pooled connections checked out by this process.',
  },
  db_connections_max: { kind: 'gauge', unit: 'connections', help: 'Pool size of this process.' },
  db_connections_waiting: { kind: 'gauge', unit: 'requests', help: 'Requests waiting for a pooled connection.' },
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

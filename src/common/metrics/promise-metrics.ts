import { BOOKING_EXCLUSIONS, BURN_WINDOWS, OBJECTIVES, STAGES, SUPPRESSION_REASONS } from './labels.js';

/** The metrics of the promises: the objective, its budget and what burns it; from the database, but for what never reached it. */
export const PROMISE_METRICS = {
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
  slo_first_sms_events_total: {
    kind: 'counter',
    unit: 'calls',
    help: 'Eligible calls that kept (good) or broke (bad) the promise of the first text.',
    labels: { result: ['good', 'bad'] },
    scope: 'shared',
  },
  slo_first_sms_bad_total: {
    kind: 'counter',
    unit: 'calls',
    help: 'The bad of slo_first_sms_events_total, by the stage that had eaten most of the time when the promise broke.',
    labels: { stage: STAGES },
    scope: 'shared',
  },
  slo_first_sms_excluded_total: {
    kind: 'counter',
    unit: 'calls',
    help: 'Calls that the promise does not count, by reason.',
    labels: { reason: [...SUPPRESSION_REASONS, 'tenant_quiet_hours', 'synthetic'] },
    scope: 'shared',
  },
  booking_post_p95_ms: {
    kind: 'gauge',
    unit: 'ms',
    help: 'P95 of the own time of the booking API, rolling 15 minutes, a failed request at 10 s; NaN without bookings.',
    scope: 'shared',
  },
  slo_booking_api_events_total: {
    kind: 'counter',
    unit: 'requests',
    help: 'Eligible requests to the booking API that kept (good) or broke (bad) its promise.',
    labels: { result: ['good', 'bad'] },
    scope: 'shared',
  },
  slo_booking_api_excluded_total: {
    kind: 'counter',
    unit: 'requests',
    help: 'Requests to the booking API that the promise does not count, by reason.',
    labels: { reason: BOOKING_EXCLUSIONS },
    scope: 'shared',
  },
  slo_booking_api_dropped_total: {
    kind: 'counter',
    unit: 'requests',
    help: 'Requests to the booking API that no objective counts: the database was away, and the buffer was full.',
  },
  slo_error_budget_remaining_ratio: {
    kind: 'gauge',
    unit: 'ratio',
    help: 'What is left of the error budget: 1 untouched, 0 spent, below 0 overdrawn.',
    labels: { slo: OBJECTIVES },
    scope: 'shared',
  },
  slo_burn_rate: {
    kind: 'gauge',
    unit: 'ratio',
    help: 'How fast the error budget burns: at 1 it lasts exactly its period.',
    labels: { slo: OBJECTIVES, window: BURN_WINDOWS },
    scope: 'shared',
  },
  slo_bad_calls: {
    kind: 'gauge',
    unit: 'calls',
    help: 'Bad calls or bookings behind slo_burn_rate: the sample, without which a single one in a quiet hour is a total outage.',
    labels: { slo: OBJECTIVES, window: BURN_WINDOWS },
    scope: 'shared',
  },
  slo_error_budget_exhaustion_seconds: {
    kind: 'gauge',
    unit: 's',
    help: 'When the error budget is spent if it burns on as in the last 6 hours; 0 when it is, NaN when nothing burns.',
    labels: { slo: OBJECTIVES },
    scope: 'shared',
  },
} as const;

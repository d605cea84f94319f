import type { OBJECTIVES } from '../../common/metrics/labels.js';

export interface Objective {
  slo: (typeof OBJECTIVES)[number];
  /** Share of what counts that must be in time. */
  target: number;
}

export interface FirstSmsObjective extends Objective {
  slo: Extract<Objective['slo'], `first_sms${string}`>;
  thresholdSeconds: number;
}

/** SLO-1: P95 of missed call to first text at most 5 s. */
export const FIRST_SMS = { slo: 'first_sms', target: 0.95, thresholdSeconds: 5 } as const satisfies FirstSmsObjective;

/**
 * SLO-1b: nobody waits longer than a minute. SLO-1 alone has so large a budget that a total outage needs 43 minutes to
 * trip a burn alert.
 */
const FIRST_SMS_60S = {
  slo: 'first_sms_60s',
  target: 0.995,
  thresholdSeconds: 60,
} as const satisfies FirstSmsObjective;

/** Those that every missed call is judged on. */
export const FIRST_SMS_OBJECTIVES: readonly FirstSmsObjective[] = [FIRST_SMS, FIRST_SMS_60S];

/** SLO-2: P95 of the booking API's own time at most 500 ms. */
export const BOOKING_API = { slo: 'booking_api', target: 0.95, thresholdMs: 500 } as const satisfies Objective & {
  thresholdMs: number;
};
/** What a request that failed counts as in the percentile: the end of the histograms' scale. */
export const FAILED_BOOKING_MS = 10_000;

/** The promises, as data. */
export const SLOS: readonly Objective[] = [...FIRST_SMS_OBJECTIVES, BOOKING_API];

/** Rolling window of `slo_first_sms_p95_seconds` and `booking_post_p95_ms`, in minutes. */
export const P95_WINDOW_MINUTES = 15;
/** The period that a budget is for, in minutes. */
export const BUDGET_PERIOD_MINUTES = 30 * 24 * 60;
/** Windows of burn rates, in minutes. */
export const BURN_WINDOWS_MINUTES = { '5m': 5, '30m': 30, '1h': 60, '6h': 360, '3d': 4_320 } as const;

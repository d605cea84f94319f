/** The promises, as data. */
export const FIRST_SMS = {
  slo: 'first_sms',
  /** Share of eligible calls that must be answered in time. */
  target: 0.95,
  thresholdSeconds: 5,
  /** Rolling window of `slo_first_sms_p95_seconds`. */
  windowMinutes: 15,
} as const;

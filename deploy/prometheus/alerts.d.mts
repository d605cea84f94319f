export interface Alert {
  /** Name of the alert and of its runbook. */
  alert: string;
  severity: 'page' | 'ticket' | 'none';
  /** PromQL. */
  expr: string;
  /** How long it must hold; at once if absent. */
  for?: string;
  /** Prometheus template, one line. */
  summary: string;
}

export interface Recording {
  record: string;
  expr: string;
}

export const ALERTS: Alert[];
export const RECORDINGS: Recording[];
export const BORN_LATE: string[];

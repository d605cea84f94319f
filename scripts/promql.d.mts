export interface SelectedMetric {
  name: string;
  matchers: { label: string; operator: string; value: string }[];
}

export function metricsIn(expr: string): SelectedMetric[];
export function groupingsIn(expr: string): string[];

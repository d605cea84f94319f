import type { METRICS } from '../src/common/metrics/catalogue.js';

export function metricDocuments(metrics: typeof METRICS): Record<string, string>;

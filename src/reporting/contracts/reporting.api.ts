import type { BadStage } from '../../common/metrics/labels.js';

/** How one caller's first text came about. */
export interface FirstResponse {
  triggerKind: 'call' | 'text';
  correlationId: string;
  detectedAt: Date;
  firstSmsAt: Date | null;
  /** Missed call to acceptance; null while open. */
  latencyMs: number | null;
  excludedReason: string | null;
  failedReason: string | null;
  /** Of a call that broke the promise: the stage that had eaten most of its time when it did. */
  badStage: BadStage | null;
  /** The time of each stage; null while open. */
  stagesMs: { webhook: number; outboxWait: number; handler: number; provider: number } | null;
}

/** What ops may ask of reporting. */
export abstract class ReportingApi {
  /** By correlation id; undefined until the tracker has heard of it. */
  abstract firstResponse(correlationId: string): Promise<FirstResponse | undefined>;
}

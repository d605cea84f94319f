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
  /** What ate the time; null while open. */
  stagesMs: { webhook: number; outboxWait: number; handler: number; provider: number } | null;
}

/** What ops may ask of reporting. */
export abstract class ReportingApi {
  /** By correlation id; undefined until the tracker has heard of it. */
  abstract firstResponse(correlationId: string): Promise<FirstResponse | undefined>;
}

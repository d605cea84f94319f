import { Injectable } from '@nestjs/common';
import type { MetricName } from '../../common/metrics/catalogue.js';
import type { Transaction } from '../../infra/database/database.js';
import { ADD_TO_LEDGER } from './ledger.queries.js';

/** The counters that the database keeps: exact across restarts, replays and replicas. */
export const TOTALS = [
  'kpi_calls_detected_total',
  'kpi_conversations_started_total',
  'kpi_appointments_booked_total',
  'kpi_attributed_revenue_cents_total',
  'kpi_refunded_revenue_cents_total',
  'slo_first_sms_events_total',
  'slo_first_sms_bad_total',
  'slo_first_sms_excluded_total',
  'slo_booking_api_events_total',
  'slo_booking_api_excluded_total',
] as const satisfies readonly MetricName[];
export type TotalName = (typeof TOTALS)[number];

/** Totals that only grow, written with what they count. */
@Injectable()
export class Ledger {
  /** Adds in the transaction that makes it true. `label`: the value of the metric's only label. */
  async add(tx: Transaction, metric: TotalName, amount: number, label = ''): Promise<void> {
    await tx.query(ADD_TO_LEDGER, [metric, label, amount]);
  }
}

import { Counter, Gauge, Histogram, register } from 'prom-client';
import {
  type Collector,
  type CounterName,
  type GaugeName,
  type HistogramName,
  type LabelsOf,
  METRICS,
  type MetricName,
} from './catalogue.js';

type Labels = Record<string, string>;
type Args<N extends MetricName> = keyof LabelsOf<N> extends never ? [] : [labels: LabelsOf<N>];

/**
 * The only way to a metric. Names, kinds and labels are checked by the compiler against the catalogue;
 * counters and histograms with closed labels exist at zero from the start, so that a first burst is seen by `increase()`.
 */
class Metrics {
  readonly registry = register;
  private readonly totals = new Map<string, number>();
  private readonly instruments = new Map<MetricName, Counter | Gauge | Histogram>();

  constructor() {
    for (const name of Object.keys(METRICS) as MetricName[]) this.register(name);
  }

  increment<N extends CounterName>(name: N, ...[labels]: Args<N>): void {
    (this.instruments.get(name) as Counter).inc((labels ?? {}) as Labels);
  }

  /**
   * Brings a counter that the database keeps up to its total. It never goes down: a total that is behind (a replica, a
   * restored backup) leaves it where it is.
   */
  advance<N extends CounterName>(name: N, total: number, ...[labels]: Args<N>): void {
    const key = `${name}|${JSON.stringify(labels ?? {})}`;
    const reached = this.totals.get(key) ?? 0;
    (this.instruments.get(name) as Counter).inc((labels ?? {}) as Labels, Math.max(0, total - reached));
    this.totals.set(key, Math.max(reached, total));
  }

  add<N extends CounterName>(name: N, amount: number, ...[labels]: Args<N>): void {
    (this.instruments.get(name) as Counter).inc((labels ?? {}) as Labels, amount);
  }

  set<N extends GaugeName>(name: N, value: number, ...[labels]: Args<N>): void {
    (this.instruments.get(name) as Gauge).set((labels ?? {}) as Labels, value);
  }

  observe<N extends HistogramName>(name: N, value: number, ...[labels]: Args<N>): void {
    (this.instruments.get(name) as Histogram).observe((labels ?? {}) as Labels, value);
  }

  /**
   * Runs one collector and tells how it went. A failing one drops its samples, so that a stale number
   * never looks healthy, and its error is passed on: whoever runs it says why.
   */
  async collect(collector: Collector, gauges: readonly GaugeName[], read: () => Promise<void> | void): Promise<void> {
    try {
      await read();
      this.set('nmc_collector_up', 1, { collector });
      this.set('nmc_collector_last_success_timestamp_seconds', Date.now() / 1000, { collector });
    } catch (error) {
      for (const name of gauges) withoutSamples(this.instruments.get(name) as Gauge, METRICS[name].labels);
      this.set('nmc_collector_up', 0, { collector });
      throw error;
    }
  }

  private register(name: MetricName): void {
    const spec = METRICS[name];
    const labels = spec.labels ?? {};
    const options = { name, help: spec.help, labelNames: Object.keys(labels), registers: [this.registry] };
    const instrument =
      spec.kind === 'counter'
        ? new Counter(options)
        : spec.kind === 'gauge'
          ? new Gauge(options)
          : new Histogram({ ...options, buckets: [...(spec.buckets ?? [])] });
    this.instruments.set(name, instrument);
    // A counter of the database's that began at zero here would look like a burst when its total is read.
    const isTotal = spec.kind === 'counter' && spec.scope === 'shared';
    if (instrument instanceof Histogram || !(isTotal || instrument instanceof Gauge))
      this.initialise(instrument, labels);
    else withoutSamples(instrument, spec.labels);
  }

  private initialise(instrument: Counter | Histogram, labels: Readonly<Record<string, unknown>>): void {
    let combinations: Labels[] = [{}];
    for (const [label, values] of Object.entries(labels)) {
      if (!Array.isArray(values)) return;
      combinations = combinations.flatMap((base) => values.map((value: string) => ({ ...base, [label]: value })));
    }
    for (const combination of combinations) {
      if (instrument instanceof Histogram) instrument.zero(combination);
      else instrument.inc(combination, 0);
    }
  }
}

/** Nothing is known yet, or any more; the library's zero would be a claim. */
function withoutSamples(instrument: Counter | Gauge, labels: object | undefined): void {
  if (labels) instrument.reset();
  else instrument.remove();
}

/** One registry a process: metrics outlive any one application context. */
export const metrics = new Metrics();

import type { CATALOGUE, HistogramName, LabelsOf } from '../metrics/catalogue.js';
import { metrics } from '../metrics/metrics.js';
import { wrapMethod } from './wrap-method.js';

/** The histograms of the catalogue that hold milliseconds. */
export type DurationName = {
  [N in HistogramName]: (typeof CATALOGUE)[N]['unit'] extends 'ms' ? N : never;
}[HistogramName];

/** The labels where they are known beforehand, or how to find them when the method is called; undefined: not observed. */
type LabelSource<N extends DurationName> = LabelsOf<N> | (() => LabelsOf<N> | undefined);
type Args<N extends DurationName> = keyof LabelsOf<N> extends never ? [] : [labels: LabelSource<N>];

/**
 * Times a step: every call of the method is recorded in a duration histogram of the catalogue, a failed one as well, one
 * that answers a promise when that is settled.
 */
export function Observed<N extends DurationName>(name: N, ...[labels]: Args<N>): MethodDecorator {
  const observe = metrics.observe.bind(metrics) as (name: N, ms: number, labels?: LabelsOf<N>) => void;
  return wrapMethod((original, self, args) => {
    const found = typeof labels === 'function' ? labels() : labels;
    if (labels !== undefined && found === undefined) return original.apply(self, args);
    const startedAt = performance.now();
    const record = () => observe(name, performance.now() - startedAt, found);
    let result: unknown;
    try {
      result = original.apply(self, args);
    } catch (error) {
      record();
      throw error;
    }
    // Not only our own async methods answer promises.
    if (typeof (result as PromiseLike<unknown> | undefined)?.then !== 'function') {
      record();
      return result;
    }
    return Promise.resolve(result).finally(record);
  });
}

import type { HistogramName, LabelsOf } from '../metrics/catalogue.js';
import { metrics } from '../metrics/metrics.js';
import { inSpan } from '../tracing/spans.js';
import { whenSettled, wrapMethod } from './wrap-method.js';

type Unlabelled = { [N in HistogramName]: keyof LabelsOf<N> extends never ? N : never }[HistogramName];

/**
 * Runs the method in a span called `span`, and records its duration in the histogram `metric` (ms), failures included.
 * For the few steps an objective is about; everything at the edges is measured without a decorator.
 */
export function Observed(options: { span: string; metric?: Unlabelled }): MethodDecorator {
  return wrapMethod((original, self, args) => {
    const startedAt = performance.now();
    return inSpan(options.span, {}, () =>
      whenSettled(original.apply(self, args), () => {
        if (options.metric) metrics.observe(options.metric, performance.now() - startedAt);
      }),
    );
  });
}

import { ms, quantiles } from './format.mjs';
import { quantile } from './statistics.mjs';

/** @typedef {{ idle: number[], rate: number[] }} Waits milliseconds of one round */

export function latencyHeader(/** @type {string} */ rate) {
  return ['contender', 'idle p50', 'p95', 'p99', 'x', `${rate} p50`, 'p95', 'p99', 'x'];
}

/** Quantiles over all rounds, with the spread of the rounds' medians, and the ratio of the median to the floor's. */
export function latencyCells(/** @type {Waits[]} */ values, /** @type {Waits[]} */ floor) {
  return /** @type {const} */ (['idle', 'rate']).flatMap((part) => {
    const all = values.flatMap((round) => round[part]);
    const medians = values.map((round) => quantile(round[part], 0.5));
    const [p50, p95, p99] = quantiles(all, [0.5, 0.95, 0.99]);
    const of = quantile(
      floor.flatMap((round) => round[part]),
      0.5,
    );
    const x = (quantile(all, 0.5) / of).toFixed(1);
    return [`${p50} (${ms(Math.min(...medians))}-${ms(Math.max(...medians))})`, p95, p99, x].map(String);
  });
}

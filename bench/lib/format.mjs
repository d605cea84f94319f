import { quantile } from './statistics.mjs';

/** @typedef {import('./contend.mjs').Outcomes<any>} Outcomes */

export function rounds(/** @type {number} */ count) {
  return `${count} ${count === 1 ? 'round' : 'rounds'}`;
}

export function whole(/** @type {number} */ value) {
  return Number.isFinite(value) ? Math.round(value).toLocaleString('en-US') : '-';
}

export function ms(/** @type {number | undefined} */ value = Number.NaN) {
  if (!Number.isFinite(value)) return '-';
  return value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2);
}

export function ratio(/** @type {number} */ value) {
  return Number.isFinite(value) ? value.toFixed(2) : '-';
}

/** The cells of some quantiles of `values`, in milliseconds. */
export function quantiles(/** @type {readonly number[]} */ values, /** @type {readonly number[]} */ shares) {
  return shares.map((share) => ms(quantile(values, share)));
}

/**
 * A Markdown table: the first column is text, the others are numbers.
 * @param {readonly string[]} header
 * @param {readonly (readonly string[])[]} rows
 */
export function table(header, rows) {
  const line = (/** @type {readonly string[]} */ cells) => `| ${cells.join(' | ')} |`;
  return [line(header), `|---|${'---:|'.repeat(header.length - 1)}`, ...rows.map(line)].join('\n');
}

/**
 * A row for each contender in a table of `columns` columns, and under it why some have failed.
 * @param {Map<string, Outcomes>} results
 * @param {readonly string[]} header
 * @param {(values: any[], name: string) => string[]} cells
 * @param {(a: [string, Outcomes], b: [string, Outcomes]) => number} [order]
 */
export function contendersTable(results, header, cells, order) {
  const entries = order ? [...results].sort(order) : [...results];
  const rows = entries.map(([name, { values }]) =>
    values.length > 0
      ? [name, ...cells(values, name)]
      : [name, '**failed**', ...Array.from({ length: header.length - 2 }, () => '')],
  );
  const failures = entries
    .filter(([, { failures }]) => failures.length > 0)
    .map(([name, { values, failures }]) => {
      const times = `${failures.length} of ${rounds(failures.length + values.length)}`;
      return `\nFailed in ${times}: ${name}: ${failures[0]?.split('\n')[0]?.slice(0, 200)}`;
    });
  return [table(header, rows), ...failures].join('\n');
}

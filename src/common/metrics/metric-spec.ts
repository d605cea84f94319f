/** What an entry of the catalogue is made of. */

/** A duration; the promises, 500 ms and 5 s, are buckets of their own. */
export const DURATION = {
  kind: 'histogram',
  unit: 'ms',
  buckets: [5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000],
} as const;

export type OpenLabel<T extends string> = { readonly open: true; readonly __type?: T };
export const open = <T extends string>(): OpenLabel<T> => ({ open: true });
type LabelSpec = readonly string[] | OpenLabel<string>;

export interface MetricSpec {
  readonly kind: 'counter' | 'gauge' | 'histogram';
  readonly unit: string;
  readonly help: string;
  readonly labels?: Readonly<Record<string, LabelSpec>>;
  readonly buckets?: readonly number[];
  /** `shared`: computed from the database, the same on every replica; `process` otherwise. */
  readonly scope?: 'process' | 'shared';
}

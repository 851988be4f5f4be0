import type { MetricSource } from '@robustmq/admin';

/** How one figure is shown. */
export interface MetricRow {
  readonly name: `robustmq_${string}`;
  readonly type: 'counter' | 'gauge';
  readonly help: string;
}

/** A row for every figure of a package, so that a new one does not compile until it is named. */
export type MetricTable<Figures> = { readonly [Key in keyof Figures]: MetricRow };

/** The figures of `read` under the names of the table. */
export function metricsOf<Figures extends { readonly [Key in keyof Figures]: number }>(
  table: MetricTable<Figures>,
  read: () => Figures,
): MetricSource[] {
  return keysOf(table).map((key) => ({ ...table[key], values: () => [{ value: read()[key] }] }));
}

/** The same with one label; its values are a closed set. */
export function labelledMetricsOf<Figures extends { readonly [Key in keyof Figures]: number }>(
  table: MetricTable<Figures>,
  label: string,
  read: () => Readonly<Record<string, Figures>>,
): MetricSource[] {
  return keysOf(table).map((key) => ({
    ...table[key],
    values: () =>
      Object.entries(read()).map(([name, figures]) => ({ labels: { [label]: name }, value: figures[key] })),
  }));
}

function keysOf<Table extends object>(table: Table): (keyof Table)[] {
  return Object.keys(table) as (keyof Table)[];
}

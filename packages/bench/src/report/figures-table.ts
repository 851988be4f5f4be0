import { type Measurement, ratio } from '../measurement.ts';
import type { Row } from '../rows/row.ts';
import { markdownTable } from './markdown.ts';
import { cpuText, percent, quantity, valueText } from './units.ts';

const heading = [
  'row',
  'server',
  'value',
  'CPU',
  'server busy',
  'generator busy',
  'arrived',
  'p50',
  'p99',
  'p99.9',
  'memory',
];
const leftColumns = 2;

/** Everything that was measured: one line per row and server. */
export function figuresTable(rows: readonly Row[], measurements: readonly Measurement[]): string {
  const lines = rows.flatMap((row) =>
    measurements.filter(({ row: id }) => id === row.id).map((measurement) => lineOf(row, measurement)),
  );
  return markdownTable(heading, lines, leftColumns);
}

function lineOf(row: Row, measurement: Measurement): string[] {
  const { server, latency, residentBytes, error } = measurement;
  if (error !== null) return [row.id, server, 'failed'];
  return [
    row.id,
    server,
    valueText(row.unit, measurement),
    cpuText(row.unit, measurement),
    percent(measurement.serverBusy),
    percent(measurement.generatorBusy),
    percent(ratio(measurement.arrived, measurement.expected), 2),
    quantity(latency?.p50 ?? null, 'ms'),
    quantity(latency?.p99 ?? null, 'ms'),
    quantity(latency?.p999 ?? null, 'ms'),
    quantity(residentBytes === null ? null : residentBytes / 1e6, 'MB'),
  ];
}

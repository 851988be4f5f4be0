import { type Measurement, ratio } from './measurement.ts';
import type { Row, RowUnit } from './rows.ts';

const valueUnits: Readonly<Record<RowUnit, string>> = {
  messages: 'k msg/s',
  megabytes: 'MB/s',
  startMs: 'ms',
  residentMib: 'MiB',
  connectionKib: 'KiB',
};

const cpuUnits: Readonly<Record<RowUnit, string>> = {
  messages: 'us/msg',
  megabytes: 'ms/MB',
  startMs: '',
  residentMib: '',
  connectionKib: '',
};

const heading = [
  'row',
  'server',
  'value',
  'CPU',
  'server busy',
  'generator busy',
  'delivered',
  'x value',
  'x CPU',
];

/**
 * One line per row and server. The last two columns stand on the peers' lines: the subject's figure
 * divided by that peer's.
 */
export function formatTable(
  rows: readonly Row[],
  measurements: readonly Measurement[],
  subjectName: string,
): string {
  const lines: string[][] = [heading];
  const titles: string[] = [];
  for (const row of rows) {
    const own = measurements.filter((measurement) => measurement.row === row.id);
    const subject = own.find((measurement) => measurement.server === subjectName);
    for (const measurement of own) lines.push(lineOf(row, measurement, subject));
    if (own.length > 0) titles.push(`  ${row.id}: ${row.title}`);
  }
  return `${align(lines)}\n\n${titles.join('\n')}\n`;
}

function lineOf(row: Row, measurement: Measurement, subject: Measurement | undefined): string[] {
  const { server, value, cpu, error } = measurement;
  if (error !== null) return [row.id, server, `FAILED: ${error.split('\n')[0]}`];
  const against = subject !== undefined && subject !== measurement && subject.error === null ? subject : null;
  return [
    row.id,
    server,
    withUnit(value, valueUnits[row.unit]),
    withUnit(cpu, cpuUnits[row.unit]),
    percent(measurement.serverBusy),
    percent(measurement.generatorBusy),
    percent(ratio(measurement.arrived, measurement.expected), 2),
    times(against === null ? null : ratio(against.value, value)),
    times(against === null ? null : ratio(against.cpu, cpu)),
  ];
}

function withUnit(value: number | null, unit: string): string {
  return value === null ? '' : `${rounded(value)} ${unit}`;
}

function percent(share: number | null, digits = 0): string {
  return share === null ? '' : `${(share * 100).toFixed(digits).replace(/\.0+$/, '')} %`;
}

function times(value: number | null): string {
  return value === null ? '' : rounded(value);
}

/** Three significant digits, without an exponent. */
function rounded(value: number): string {
  const magnitude = Math.abs(value);
  return value.toFixed(magnitude >= 100 ? 0 : magnitude >= 10 ? 1 : 2);
}

/** Pads to columns: names to the left, figures to the right. A failure's text runs on freely. */
function align(lines: readonly string[][]): string {
  const widths: number[] = [];
  for (const line of lines) {
    if (line.length < heading.length) continue;
    line.forEach((cell, column) => {
      widths[column] = Math.max(widths[column] ?? 0, cell.length);
    });
  }
  for (const line of lines)
    for (const column of [0, 1]) widths[column] = Math.max(widths[column] ?? 0, (line[column] ?? '').length);
  return lines
    .map((line) =>
      line
        .map((cell, column) => {
          const width = widths[column] ?? 0;
          return column < 2 || line.length < heading.length ? cell.padEnd(width) : cell.padStart(width);
        })
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

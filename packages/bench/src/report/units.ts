import { isFloor, type Measurement } from '../measurement.ts';
import type { RowUnit } from '../rows/row.ts';

/** How figures are written. Every function gives an empty text for a figure that is not known. */

const valueUnits: Readonly<Record<RowUnit, string>> = {
  messages: 'k/s',
  megabytes: 'MB/s',
  startMs: 'ms',
  residentMb: 'MB',
  connectionKb: 'KB',
  topicKb: 'KB',
  milliseconds: 'ms',
};

const cpuUnits: Readonly<Record<RowUnit, string>> = {
  messages: 'us',
  megabytes: 'ms/MB',
  startMs: '',
  residentMb: '',
  connectionKb: '',
  topicKb: '',
  milliseconds: '',
};

/** `>=` stands before what may be more: its generator was busy. */
export function valueText(unit: RowUnit, measurement: Measurement): string {
  const text = quantity(measurement.value, valueUnits[unit]);
  return isFloor(measurement) && text !== '' ? `>= ${text}` : text;
}

export function cpuText(unit: RowUnit, measurement: Measurement): string {
  return quantity(measurement.cpu, cpuUnits[unit]);
}

export function boundText(unit: RowUnit, figure: 'value' | 'cpu', bound: number): string {
  return `${shortest(bound)} ${figure === 'value' ? valueUnits[unit] : cpuUnits[unit]}`;
}

export function quantity(value: number | null, unit: string): string {
  return value === null ? '' : `${rounded(value)} ${unit}`;
}

export function percent(share: number | null, digits = 0): string {
  return share === null ? '' : `${(share * 100).toFixed(digits).replace(/\.0+$/, '')} %`;
}

export function times(factor: number | null): string {
  return factor === null ? '' : `${rounded(factor)}x`;
}

/** A bound as people write it: whole, one half, or rounded. */
export function shortest(value: number): string {
  return String(Number(value.toPrecision(3)));
}

/** Three significant digits or all whole ones, without an exponent. */
function rounded(value: number): string {
  const magnitude = Math.abs(value);
  return value.toFixed(magnitude >= 100 ? 0 : magnitude >= 10 ? 1 : 2);
}

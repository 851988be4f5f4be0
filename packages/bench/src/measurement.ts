import type { LoadResult } from './job.ts';
import type { Row } from './rows.ts';

/** One row of one server. */
export interface Measurement {
  readonly row: string;
  readonly server: string;
  /** Thousands of messages or megabytes (10^6 bytes of payload) a second, milliseconds, MiB or KiB: as the row's unit says. */
  readonly value: number | null;
  /** Server CPU: microseconds a message or milliseconds a megabyte. */
  readonly cpu: number | null;
  /** CPU seconds per second of the server and of the generator: 1 is one core. */
  readonly serverBusy: number | null;
  readonly generatorBusy: number | null;
  readonly expected: number | null;
  readonly arrived: number | null;
  /** Why the row failed; the figures are then of no use. */
  readonly error: string | null;
}

const none = {
  value: null,
  cpu: null,
  serverBusy: null,
  generatorBusy: null,
  expected: null,
  arrived: null,
  error: null,
} as const;

export function failed(row: Row, server: string, error: string): Measurement {
  return { ...none, row: row.id, server, error };
}

/** A row about the process itself: one figure. */
export function figure(row: Row, server: string, value: number): Measurement {
  return { ...none, row: row.id, server, value };
}

export function fromLoad(row: Row, server: string, result: LoadResult): Measurement {
  const { seconds, count, serverCpuSeconds, expected, arrived } = result;
  const units = row.unit === 'megabytes' ? result.bytes / 1e6 : count / 1e3;
  return {
    row: row.id,
    server,
    value: row.unit === 'connectionKib' ? connectionKib(result) : units / seconds,
    // Milliseconds a megabyte and microseconds a message are both thousandths of a second per unit above.
    cpu: serverCpuSeconds === null || units === 0 ? null : (serverCpuSeconds * 1000) / units,
    serverBusy: serverCpuSeconds === null ? null : serverCpuSeconds / seconds,
    generatorBusy: row.unit === 'connectionKib' ? null : result.generatorCpuSeconds / seconds,
    expected,
    arrived,
    error: lossOf(row, result),
  };
}

/** Subject's figures against a peer's in the same row: how many times the rate, how many times the CPU. */
export function ratio(subject: number | null, peer: number | null): number | null {
  return subject === null || peer === null || peer === 0 ? null : subject / peer;
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const high = sorted[middle] as number;
  return sorted.length % 2 === 1 ? high : (high + (sorted[middle - 1] as number)) / 2;
}

function connectionKib(result: LoadResult): number | null {
  const resident = result.residentBytes;
  return resident === undefined ? null : (resident.with - resident.before) / result.count / 1024;
}

function lossOf(row: Row, result: LoadResult): string | null {
  if (!row.lossless) return null;
  if (result.arrived !== result.expected) return `${result.arrived} of ${result.expected} arrived`;
  return result.disordered === 0 ? null : `${result.disordered} out of order or twice`;
}

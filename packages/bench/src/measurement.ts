import type { LoadResult } from './job.ts';
import type { Latency } from './latency-histogram.ts';
import type { Row } from './rows/row.ts';

/** One row of one server. */
export interface Measurement {
  readonly row: string;
  readonly server: string;
  /**
   * Thousands of messages or megabytes (10^6 bytes of payload) a second, milliseconds, MB or KB: as the
   * row's unit says.
   */
  readonly value: number | null;
  /** Server CPU: microseconds a message or milliseconds a megabyte. */
  readonly cpu: number | null;
  /** CPU seconds per second of the server and of the generator: 1 is one core. */
  readonly serverBusy: number | null;
  readonly generatorBusy: number | null;
  readonly expected: number | null;
  readonly arrived: number | null;
  /** At half of `value`, or at the row's own rate. */
  readonly latency: Latency | null;
  /** Resident bytes of the server after the row. */
  readonly residentBytes: number | null;
  /** What the check of durability found; null where the server promises none. */
  readonly durability: string | null;
  /** Worth knowing beside the figures. */
  readonly note: string | null;
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
  latency: null,
  residentBytes: null,
  durability: null,
  note: null,
  error: null,
} as const;

/** A generator this busy may have been what held the figure back. */
const busyGenerator = 0.9;

export function failed(row: Row, server: string, error: string): Measurement {
  return { ...none, row: row.id, server, error };
}

/** A row about the process itself: one figure. */
export function figure(row: Row, server: string, value: number): Measurement {
  return { ...none, row: row.id, server, value };
}

export function fromLoad(row: Row, server: string, result: LoadResult): Measurement {
  const { seconds, serverCpuSeconds, expected, arrived } = result;
  const units = unitsOf(row, result);
  const rated = row.unit === 'messages' || row.unit === 'megabytes';
  return {
    ...none,
    row: row.id,
    server,
    value: valueOf(row, result),
    // Milliseconds a megabyte and microseconds a message are both thousandths of a second per unit above.
    cpu: serverCpuSeconds === null || units === 0 || !rated ? null : (serverCpuSeconds * 1000) / units,
    serverBusy: serverCpuSeconds === null || seconds === 0 ? null : serverCpuSeconds / seconds,
    generatorBusy: rated || result.latency !== undefined ? result.generatorCpuSeconds / seconds : null,
    expected,
    arrived,
    latency: result.latency ?? null,
    note: result.note ?? null,
    error: lossOf(row, result),
  };
}

/** True when the generator may have been the bottleneck: the figure is then a floor. */
export function isFloor({ generatorBusy }: Measurement): boolean {
  return generatorBusy !== null && generatorBusy >= busyGenerator;
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

/** Thousands of messages, or megabytes. */
function unitsOf(row: Row, { bytes, count }: LoadResult): number {
  return row.unit === 'megabytes' ? bytes / 1e6 : count / 1e3;
}

function valueOf(row: Row, result: LoadResult): number | null {
  switch (row.unit) {
    case 'messages':
    case 'megabytes':
      return unitsOf(row, result) / result.seconds;
    case 'connectionKb':
    case 'topicKb': {
      const resident = result.residentBytes;
      return resident === undefined ? null : (resident.with - resident.before) / result.count / 1000;
    }
    case 'milliseconds':
      return result.servedMs ?? null;
    case 'startMs':
    case 'residentMb':
      return null;
  }
}

function lossOf(row: Row, result: LoadResult): string | null {
  if (!row.lossless) return null;
  if (result.arrived !== result.expected) return `${result.arrived} of ${result.expected} arrived`;
  return result.disordered === 0 ? null : `${result.disordered} out of order or twice`;
}

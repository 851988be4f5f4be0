import type { Job } from '../job.ts';
import type { PeerName } from '../options.ts';
import type { Bar } from '../verdict.ts';

/** What a row measures, and the unit it is shown in. */
export type RowUnit =
  | 'messages'
  | 'megabytes'
  | 'startMs'
  | 'residentMb'
  | 'connectionKb'
  | 'topicKb'
  | 'milliseconds';

/** The bars (what a run has by default), how figures grow, and latency under a steady load. */
export type RowSet = 'bars' | 'scale' | 'latency';

export interface Row {
  readonly id: string;
  readonly title: string;
  readonly set: RowSet;
  /** Rows of a group share one freshly started server each. */
  readonly group: string;
  /** What the load speaks; null for rows about the process itself. */
  readonly protocol: 'mqtt' | 'kafka' | null;
  readonly unit: RowUnit;
  /** Peers that run the row too, bar or not. */
  readonly peers: readonly PeerName[];
  readonly bars: readonly Bar[];
  /** True when anything missing or out of order fails the row; a broker may drop at QoS 0. */
  readonly lossless: boolean;
  /** This server promises that what it acknowledges here is on disk: it is killed after the load, and counted. */
  readonly durable: boolean;
  /** The timed window is at least this long, whatever was asked for. */
  readonly secondsMin?: number;
  /** Says beside the figures how many segments were sealed and deleted meanwhile. */
  readonly segmentsNoted?: boolean;
  /** The load, but for what every job has; absent for rows about the process itself. */
  readonly load?: (context: RowContext) => Promise<LoadShape>;
  /** The same work at a steady rate, for latency; absent where there is no such thing. */
  readonly paced?: (context: RowContext, perSecond: number) => Promise<LoadShape>;
}

/** A job without the fields that do not depend on the row. */
export type LoadShape = WithoutCommon<Job>;
type WithoutCommon<J> = J extends Job
  ? Omit<J, 'endpoint' | 'pids' | 'prefix' | 'warmupMs' | 'seconds'>
  : never;

export interface RowContext {
  /** Name of a topic of this run. */
  topic(name: string): string;
  /** Fills the fetch topic once per server; returns its offsets. */
  filled(
    shape: Extract<LoadShape, { kind: 'kafka-fill' }>,
  ): Promise<{ readonly start: number; readonly end: number }>;
  /** Sets keys of a topic, which is made with so many partitions unless it is there already (null). */
  configure(topic: string, options: TopicOptions): Promise<void>;
  /** Units a second (messages or records) that the load reaches without pacing; measured once per server. */
  highest(shape: LoadShape): Promise<number>;
}

export interface TopicOptions {
  readonly partitions: number | null;
  readonly settings: Readonly<Record<string, string>>;
}

/** A row on servers of its own: what another row leaves behind is not measured with it. */
export function alone(row: Omit<Row, 'group'>): Row {
  return { group: row.id, ...row };
}

import type { Job } from './job.ts';
import type { BenchOptions } from './options.ts';
import { recordsThatFit } from './wire/record-batch.ts';

/** What a row measures: messages or megabytes a second, or one figure of the process. */
export type RowUnit = 'messages' | 'megabytes' | 'startMs' | 'residentMib' | 'connectionKib';

export interface Row {
  readonly id: string;
  readonly title: string;
  /** Rows of a group share one freshly started server each. */
  readonly group: 'process' | 'mqtt' | 'kafka';
  readonly unit: RowUnit;
  /** True when anything missing or out of order fails the row; a broker may drop at QoS 0. */
  readonly lossless: boolean;
  /** The load, but for what every job has; absent for rows about the process itself. */
  readonly load?: (context: RowContext) => Promise<LoadShape>;
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
}

const payloadBytes = 64;
const valueBytes = 1024;
const mib = 1024 * 1024;
const tailBytes = 32 * mib;
const recordsPerBatch = recordsThatFit(valueBytes, 64 * 1024);

/** The rows in the order they run: memory for idle connections before any load has grown a heap. */
export function allRows(options: BenchOptions): Row[] {
  return [...processRows, ...idleRows(options.connections), ...mqttRows, ...kafkaRows(options.logMib * mib)];
}

/** Rows named by id, or else by the beginning of their ids. Throws for a name that fits none. */
export function chooseRows(rows: readonly Row[], only: readonly string[]): Row[] {
  if (only.length === 0) return [...rows];
  const chosen = new Set<Row>();
  for (const name of only) {
    const exact = rows.filter((row) => row.id === name);
    const fitting = exact.length > 0 ? exact : rows.filter((row) => row.id.startsWith(name));
    if (fitting.length === 0) {
      throw new Error(`--only: ${name} is none of ${rows.map((row) => row.id).join(', ')}`);
    }
    for (const row of fitting) chosen.add(row);
  }
  return rows.filter((row) => chosen.has(row));
}

const processRows: readonly Row[] = [
  { id: 'start', title: 'start to open ports', group: 'process', unit: 'startMs', lossless: true },
  { id: 'memory', title: 'resident memory, idle', group: 'process', unit: 'residentMib', lossless: true },
];

const mqttRows: readonly Row[] = [
  {
    id: 'mqtt-qos0',
    title: 'MQTT QoS 0, 1 to 1, 64 B',
    group: 'mqtt',
    unit: 'messages',
    lossless: false,
    load: async () => ({ kind: 'mqtt-qos0', payloadBytes, subscribers: 1, inFlightMax: 4000 }),
  },
  {
    id: 'mqtt-fanout',
    title: 'MQTT QoS 0, 1 to 50, 64 B',
    group: 'mqtt',
    unit: 'messages',
    lossless: false,
    load: async () => ({ kind: 'mqtt-qos0', payloadBytes, subscribers: 50, inFlightMax: 800 }),
  },
  {
    id: 'mqtt-qos1',
    title: 'MQTT QoS 1, 8 pairs, window 100, 64 B',
    group: 'mqtt',
    unit: 'messages',
    lossless: true,
    load: async () => ({ kind: 'mqtt-qos1', payloadBytes, pairs: 8, window: 100 }),
  },
];

function idleRows(connections: number): Row[] {
  if (connections === 0) return [];
  return [
    {
      id: 'mqtt-idle',
      title: `MQTT memory per idle connection (${connections})`,
      group: 'mqtt',
      unit: 'connectionKib',
      lossless: true,
      load: async () => ({ kind: 'mqtt-idle', connections }),
    },
  ];
}

function kafkaRows(logBytes: number): Row[] {
  const fill = {
    kind: 'kafka-fill',
    valueBytes,
    recordsPerBatch,
    records: Math.ceil(logBytes / valueBytes),
  } as const;
  const fetch = { kind: 'kafka-fetch', valueBytes, fetchBytes: mib } as const;
  return [
    {
      id: 'kafka-produce',
      title: 'Kafka produce, acks=all, 1 KiB in 64 KiB batches, 1 connection',
      group: 'kafka',
      unit: 'megabytes',
      lossless: true,
      load: async (context) => ({
        kind: 'kafka-produce',
        topic: context.topic('produce'),
        valueBytes,
        recordsPerBatch,
        connections: 1,
        inFlight: 5,
      }),
    },
    {
      id: 'kafka-produce-small',
      title: 'Kafka produce, acks=all, one 1 KiB record a request, 50 connections',
      group: 'kafka',
      unit: 'messages',
      lossless: true,
      load: async (context) => ({
        kind: 'kafka-produce',
        topic: context.topic('produce-small'),
        valueBytes,
        recordsPerBatch: 1,
        connections: 50,
        inFlight: 5,
      }),
    },
    {
      id: 'kafka-fetch-tail',
      title: 'Kafka fetch, 1 MiB a request, last 32 MiB',
      group: 'kafka',
      unit: 'megabytes',
      lossless: true,
      load: async (context) => {
        const topic = context.topic('fetch');
        const { start, end } = await context.filled({ ...fill, topic });
        const startOffset = Math.max(start, end - tailBytes / valueBytes);
        return { ...fetch, topic, startOffset, endOffset: end };
      },
    },
    {
      id: 'kafka-fetch-log',
      title: `Kafka fetch, 1 MiB a request, whole log of ${logBytes / mib} MiB`,
      group: 'kafka',
      unit: 'megabytes',
      lossless: true,
      load: async (context) => {
        const topic = context.topic('fetch');
        const { start, end } = await context.filled({ ...fill, topic });
        return { ...fetch, topic, startOffset: start, endOffset: end };
      },
    },
  ];
}

import type { PeerName } from '../options.ts';
import { recordsThatFit } from '../wire/record-batch.ts';
import type { Row, RowContext } from './row.ts';
import { alone } from './row.ts';

const valueBytes = 1024;
const mib = 1024 * 1024;
const tailBytes = 32 * mib;
/** Records in a batch of 64 KiB. */
const recordsPerBatch = recordsThatFit(valueBytes, 64 * 1024);

const common = { set: 'bars', protocol: 'kafka', lossless: true } as const;
const producePeers = ['kafka', 'kafka-fsync', 'echo'] satisfies readonly PeerName[];
const fetchPeers = ['kafka', 'echo'] satisfies readonly PeerName[];
const batched = { kind: 'kafka-produce', valueBytes, recordsPerBatch, inFlight: 5 } as const;
const single = { ...batched, recordsPerBatch: 1 } as const;

/** `logMib`: size of the log that the fetch rows read. */
export function kafkaRows(logMib: number): Row[] {
  return [...produceRows.map(alone), ...fetchRows(logMib)];
}

const produceRows: readonly Omit<Row, 'group'>[] = [
  {
    ...common,
    id: 'kafka-produce',
    title: 'Kafka produce, acks=all, 1 KiB in 64 KiB batches, 1 connection',
    unit: 'megabytes',
    peers: producePeers,
    bars: [
      { against: 'kafka-fsync', figure: 'value', atLeast: 2 },
      { against: 'kafka', figure: 'value', atLeast: 1 },
      { against: 'kafka-fsync', figure: 'cpu', atMost: 1 / 2 },
    ],
    durable: true,
    load: async (context) => ({ ...batched, topic: context.topic('produce'), connections: 1, partitions: 1 }),
    paced: async (context, perSecond) => ({
      ...batched,
      topic: context.topic('produce'),
      connections: 1,
      partitions: 1,
      perSecond,
    }),
  },
  {
    ...common,
    id: 'kafka-produce-small',
    title: 'Kafka produce, acks=all, one 1 KiB record a request, 50 connections',
    unit: 'messages',
    peers: producePeers,
    bars: [
      { against: 'kafka-fsync', figure: 'value', atLeast: 8 },
      { against: 'kafka', figure: 'value', atLeast: 1.5 },
    ],
    durable: true,
    load: async (context) => ({
      ...single,
      topic: context.topic('produce-small'),
      connections: 50,
      partitions: 50,
    }),
    paced: async (context, perSecond) => ({
      ...single,
      topic: context.topic('produce-small'),
      connections: 50,
      partitions: 50,
      perSecond,
    }),
  },
];

function fetchRows(logMib: number): Row[] {
  const range = async (context: RowContext, bytes: number) => {
    const topic = context.topic('fetch');
    const records = Math.ceil((logMib * mib) / valueBytes);
    const { start, end } = await context.filled({
      kind: 'kafka-fill',
      valueBytes,
      recordsPerBatch,
      records,
      topic,
    });
    const startOffset = Math.max(start, end - bytes / valueBytes);
    return {
      kind: 'kafka-fetch',
      valueBytes,
      fetchBytes: mib,
      topic,
      startOffset,
      endOffset: end,
    } as const;
  };
  const row = (id: string, title: string, { bytes, atLeast }: { bytes: number; atLeast: number }): Row => ({
    ...common,
    // Both read one log.
    group: 'kafka-fetch',
    id,
    title: `Kafka fetch, 1 MiB a request, ${title}`,
    unit: 'megabytes',
    peers: fetchPeers,
    bars: [{ against: 'kafka', figure: 'value', atLeast }],
    durable: false,
    load: (context) => range(context, bytes),
    paced: async (context, perSecond) => ({ ...(await range(context, bytes)), perSecond }),
  });
  return [
    row('kafka-fetch-tail', 'the last 32 MiB', { bytes: tailBytes, atLeast: 0.8 }),
    row('kafka-fetch-log', `the whole log of ${logMib} MiB`, { bytes: Infinity, atLeast: 0.5 }),
  ];
}

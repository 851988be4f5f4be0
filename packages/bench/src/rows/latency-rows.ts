import type { PeerName } from '../options.ts';
import { recordsThatFit } from '../wire/record-batch.ts';
import type { LoadShape, Row, RowContext } from './row.ts';

const payloadBytes = 64;
const valueBytes = 1024;
const recordsPerBatch = recordsThatFit(valueBytes, 64 * 1024);
const shares = [0.1, 0.5, 0.8];
/** A retention pass comes every 10 s; the timed window must hold one. */
const secondsMin = 12;
const mqttTopic = 'mqtt';

/** A work at its highest rate, and the same at a steady one. */
interface Work {
  readonly id: string;
  readonly title: string;
  readonly protocol: 'mqtt' | 'kafka';
  /** The topic whose segments are to be small, and its partitions; null for the one that MQTT has already. */
  readonly partitions: number | null;
  readonly settings: Readonly<Record<string, string>>;
  readonly lossless: boolean;
  readonly full: (topic: string) => LoadShape;
  readonly paced: (topic: string, perSecond: number) => LoadShape;
}

/** Small, so that every shard rolls several times a second and each retention pass finds something to delete. */
const smallSegments = { 'segment.bytes': String(1024 * 1024), 'retention.bytes': String(2 * 1024 * 1024) };
const largeSegments = {
  'segment.bytes': String(16 * 1024 * 1024),
  'retention.bytes': String(32 * 1024 * 1024),
};

const mqtt = { protocol: 'mqtt', partitions: null, settings: smallSegments } as const;
const kafka = { protocol: 'kafka', lossless: true } as const;
const pacedMqtt = { kind: 'mqtt-latency', payloadBytes } as const;
const produce = { kind: 'kafka-produce', valueBytes, inFlight: 5 } as const;
const batched = { ...produce, recordsPerBatch, connections: 1, partitions: 1 } as const;
const single = { ...produce, recordsPerBatch: 1, connections: 50, partitions: 50 } as const;

const works: readonly Work[] = [
  {
    ...mqtt,
    id: 'qos0',
    title: 'MQTT QoS 0, 1 to 1, 64 B',
    lossless: false,
    full: () => ({ kind: 'mqtt-qos0', payloadBytes, subscribers: 1, inFlightMax: 4000 }),
    paced: (_, perSecond) => ({ ...pacedMqtt, qos: 0, pairs: 1, subscribers: 1, perSecond }),
  },
  {
    ...mqtt,
    id: 'qos1',
    title: 'MQTT QoS 1, 8 pairs, 64 B',
    lossless: true,
    full: () => ({ kind: 'mqtt-qos1', payloadBytes, pairs: 8, window: 100, looped: false }),
    paced: (_, perSecond) => ({ ...pacedMqtt, qos: 1, pairs: 8, subscribers: 1, perSecond }),
  },
  {
    ...kafka,
    id: 'produce',
    title: 'Kafka produce, 1 KiB in 64 KiB batches, 1 connection',
    partitions: 1,
    settings: largeSegments,
    full: (topic) => ({ ...batched, topic }),
    paced: (topic, perSecond) => ({ ...batched, topic, perSecond }),
  },
  {
    ...kafka,
    id: 'produce-small',
    title: 'Kafka produce, one 1 KiB record a request, 50 connections',
    partitions: 50,
    settings: smallSegments,
    full: (topic) => ({ ...single, topic }),
    paced: (topic, perSecond) => ({ ...single, topic, perSecond }),
  },
];

/** Each work at parts of its highest rate, while segments roll and retention deletes. Compaction does not exist yet. */
export const latencyRows: readonly Row[] = works.flatMap((work) => shares.map((share) => rowOf(work, share)));

function rowOf(work: Work, share: number): Row {
  const percent = `${share * 100} %`;
  const peers: PeerName[] = [];
  return {
    id: `latency-${work.id}-${share * 100}`,
    title: `${work.title}, at ${percent} of the highest rate`,
    set: 'latency',
    group: `latency-${work.id}`,
    protocol: work.protocol,
    unit: 'messages',
    peers,
    bars: [],
    lossless: work.lossless,
    durable: false,
    secondsMin,
    segmentsNoted: true,
    load: async (context: RowContext) => {
      const topic = work.partitions === null ? mqttTopic : context.topic(work.id);
      await context.configure(topic, { partitions: work.partitions, settings: work.settings });
      return work.paced(topic, (await context.highest(work.full(topic))) * share);
    },
  };
}

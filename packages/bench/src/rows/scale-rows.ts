import type { PeerName } from '../options.ts';
import { recordsThatFit } from '../wire/record-batch.ts';
import type { Row } from './row.ts';

const payloadBytes = 64;
const valueBytes = 1024;
/** Messages on the way, shared out among the connections. */
const inFlightTotal = 800;
const pairs = 8;
const windowMax = 100;
const batchBytes = 64 * 1024;
const connectionsMax = 50;

/** How figures and memory grow with connections, topics, shards and payloads. Every row has a fresh server. */
export const scaleRows: readonly Row[] = [
  ...[1, 10, 100, 1000, 10_000].map(connectionsRow),
  ...[1, 10, 100, 1000, 10_000].map(topicsRow),
  ...[1, 10, 100, 1000, 10_000].map(shardsRow),
  ...[16, 1024, 65_536, 524_288].flatMap((bytes) => [mqttPayloadRow(bytes), kafkaPayloadRow(bytes)]),
  idleTopicsRow(100_000),
  idleShardsRow(10_000),
];

function scaleRow(row: Omit<Row, 'set' | 'group' | 'peers' | 'bars' | 'lossless' | 'durable'>): Row {
  const peers: PeerName[] = [];
  return { set: 'scale', group: row.id, peers, bars: [], lossless: true, durable: false, ...row };
}

function connectionsRow(connections: number): Row {
  const window = Math.max(1, Math.floor(inFlightTotal / connections));
  return scaleRow({
    id: `scale-connections-${connections}`,
    title: `MQTT QoS 1, 64 B, connections: ${connections}, each with its topic, both ways`,
    protocol: 'mqtt',
    unit: 'messages',
    load: async () => ({ kind: 'mqtt-qos1', payloadBytes, pairs: connections, window, looped: true }),
  });
}

function topicsRow(topics: number): Row {
  const window = inFlightTotal;
  return scaleRow({
    id: `scale-topics-${topics}`,
    title: `MQTT QoS 1, 64 B, one pair, topic names: ${topics}, in turn`,
    protocol: 'mqtt',
    unit: 'messages',
    load: async () => ({ kind: 'mqtt-qos1', payloadBytes, pairs: 1, window, looped: false, topics }),
  });
}

function shardsRow(shards: number): Row {
  const connections = Math.min(shards, connectionsMax);
  return scaleRow({
    id: `scale-shards-${shards}`,
    title: `Kafka produce, one 1 KiB record a request, connections: ${connections}, partitions: ${shards}`,
    protocol: 'kafka',
    unit: 'messages',
    load: async (context) => ({
      kind: 'kafka-produce',
      topic: context.topic('shards'),
      valueBytes,
      recordsPerBatch: 1,
      connections,
      partitions: shards,
      inFlight: 5,
    }),
  });
}

function mqttPayloadRow(bytes: number): Row {
  // At most 4 MiB on the way, which every broker takes.
  const window = Math.min(windowMax, Math.max(1, Math.floor((4 * 1024 * 1024) / bytes / pairs)));
  return scaleRow({
    id: `scale-payload-mqtt-${bytes}`,
    title: `MQTT QoS 1, ${pairs} pairs, window ${window}, payload ${sizeText(bytes)}`,
    protocol: 'mqtt',
    unit: 'megabytes',
    load: async () => ({ kind: 'mqtt-qos1', payloadBytes: bytes, pairs, window, looped: false }),
  });
}

function kafkaPayloadRow(bytes: number): Row {
  const recordsPerBatch = recordsThatFit(bytes, batchBytes);
  return scaleRow({
    id: `scale-payload-kafka-${bytes}`,
    title: `Kafka produce, 1 connection, ${recordsPerBatch} x ${sizeText(bytes)} a request`,
    protocol: 'kafka',
    unit: 'megabytes',
    load: async (context) => ({
      kind: 'kafka-produce',
      topic: context.topic('payload'),
      valueBytes: bytes,
      recordsPerBatch,
      connections: 1,
      partitions: 1,
      inFlight: 5,
    }),
  });
}

function idleTopicsRow(topics: number): Row {
  return scaleRow({
    id: 'scale-idle-topics',
    title: `memory of an MQTT topic name that was published to once (${topics})`,
    protocol: 'mqtt',
    unit: 'topicKb',
    load: async () => ({ kind: 'mqtt-idle-topics', payloadBytes: 16, topics }),
  });
}

function idleShardsRow(shards: number): Row {
  return scaleRow({
    id: 'scale-idle-shards',
    title: `memory of a shard with one record (${shards})`,
    protocol: 'kafka',
    unit: 'topicKb',
    load: async (context) => ({ kind: 'kafka-idle', topic: context.topic('idle'), shards }),
  });
}

function sizeText(bytes: number): string {
  return bytes < 1024 ? `${bytes} B` : `${bytes / 1024} KiB`;
}

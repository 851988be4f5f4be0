import { setTimeout as delay } from 'node:timers/promises';
import { CompressionTypes, ConfigResourceTypes, Kafka, logLevel } from 'kafkajs';
import type { Consumer, KafkaMessage } from 'kafkajs';
import { ServerProcess, waitUntil } from '@robustmq/testkit';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';

// Real processes, on a machine that other tests use too.
vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 });

let server: ServerProcess;
let kafka: Kafka;

beforeAll(async () => {
  server = await ServerProcess.start();
  kafka = new Kafka({ clientId: 'test', brokers: [server.address('kafka')], logLevel: logLevel.NOTHING });
});

afterAll(async () => {
  await server[Symbol.asyncDispose]();
});

type Received = KafkaMessage & { readonly partition: number };

/** Joins the group and keeps what it is given. */
async function consume(
  groupId: string,
  topic: string,
): Promise<{ consumer: Consumer; received: Received[] }> {
  const consumer = kafka.consumer({ groupId, maxWaitTimeInMs: 100 });
  const received: Received[] = [];
  await consumer.connect();
  await consumer.subscribe({ topic, fromBeginning: true });
  await consumer.run({
    eachMessage: async ({ partition, message }) => {
      received.push({ ...message, partition });
    },
  });
  return { consumer, received };
}

async function produce(topic: string, from: number, to: number): Promise<void> {
  const producer = kafka.producer();
  await producer.connect();
  const messages = Array.from({ length: to - from }, (_, index) => ({
    key: `key-${(from + index) % 7}`,
    value: String(from + index),
  }));
  await producer.send({ topic, messages });
  await producer.disconnect();
}

function values(received: readonly Received[]): number[] {
  return received.map(({ value }) => Number(value?.toString())).sort((a, b) => a - b);
}

function range(from: number, to: number): number[] {
  return Array.from({ length: to - from }, (_, index) => from + index);
}

describe('kafkajs', () => {
  it('produces and consumes keys, headers, timestamps and null values, plain and with gzip', async () => {
    const producer = kafka.producer();
    await producer.connect();
    for (const compression of [CompressionTypes.None, CompressionTypes.GZIP]) {
      const topic = `fields-${compression}`;
      const [answer] = await producer.send({
        topic,
        compression,
        messages: [
          {
            partition: 0,
            key: 'k',
            value: 'v',
            timestamp: '1700000000000',
            headers: { a: 'x', b: ['y', 'z'] },
          },
          { partition: 0, key: null, value: Buffer.from([0, 255]) },
          { partition: 0, key: 'gone', value: null },
        ],
      });
      expect(answer).toMatchObject({ errorCode: 0, partition: 0, baseOffset: '0' });
      const { consumer, received } = await consume(`group-${topic}`, topic);
      await waitUntil(() => received.length === 3);
      await consumer.disconnect();
      expect(received.map(({ offset }) => offset)).toEqual(['0', '1', '2']);
      const [first, second, third] = received;
      expect(first).toMatchObject({ timestamp: '1700000000000', key: Buffer.from('k') });
      expect(String(first!.headers!['a'])).toBe('x');
      expect((first!.headers!['b'] as Buffer[]).map(String)).toEqual(['y', 'z']);
      expect(second).toMatchObject({ key: null, value: Buffer.from([0, 255]) });
      expect(third).toMatchObject({ key: Buffer.from('gone'), value: null });
    }
    await producer.disconnect();
  });

  it('resumes a group where it committed', async () => {
    const topic = 'resume';
    await produce(topic, 0, 100);
    const first = await consume('resume-group', topic);
    await waitUntil(() => first.received.length === 100);
    // Leaving commits what was handled.
    await first.consumer.disconnect();
    await produce(topic, 100, 150);
    const second = await consume('resume-group', topic);
    await waitUntil(() => second.received.length >= 50);
    await delay(300);
    await second.consumer.disconnect();
    expect(values(first.received)).toEqual(range(0, 100));
    expect(values(second.received)).toEqual(range(100, 150));
  });

  it('shares partitions in a group and takes them over when a member leaves', async () => {
    const topic = 'shared';
    const admin = kafka.admin();
    await admin.connect();
    await admin.createTopics({ topics: [{ topic, numPartitions: 4 }] });
    const one = await consume('shared-group', topic);
    const two = await consume('shared-group', topic);
    await waitUntil(async () => {
      const { groups } = await admin.describeGroups(['shared-group']);
      return groups[0]!.state === 'Stable' && groups[0]!.members.length === 2;
    });
    await produce(topic, 0, 200);
    await waitUntil(() => one.received.length + two.received.length >= 200);
    const partitions = (received: Received[]): Set<number> =>
      new Set(received.map(({ partition }) => partition));
    for (const partition of partitions(one.received)) {
      expect(partitions(two.received).has(partition)).toBe(false);
    }
    expect(values([...one.received, ...two.received])).toEqual(range(0, 200));
    await one.consumer.disconnect();
    const before = two.received.length;
    await produce(topic, 200, 300);
    await waitUntil(() => two.received.length >= before + 100);
    expect(values(two.received.slice(before))).toEqual(range(200, 300));
    await two.consumer.disconnect();
    await admin.disconnect();
  });

  it('produces with idempotence', async () => {
    const producer = kafka.producer({ idempotent: true, maxInFlightRequests: 1 });
    await producer.connect();
    for (let at = 0; at < 20; at++) {
      await producer.send({ topic: 'idempotent', messages: [{ key: 'k', value: String(at) }] });
    }
    await producer.disconnect();
    const { consumer, received } = await consume('idempotent-group', 'idempotent');
    await waitUntil(() => received.length === 20);
    await consumer.disconnect();
    expect(received.map(({ value }) => Number(String(value)))).toEqual(range(0, 20));
  });

  it('creates, grows, configures, reads and deletes topics', async () => {
    const admin = kafka.admin();
    await admin.connect();
    const topic = 'managed';
    const configEntries = [{ name: 'retention.ms', value: '60000' }];
    expect(await admin.createTopics({ topics: [{ topic, numPartitions: 2, configEntries }] })).toBe(true);
    expect(await admin.createTopics({ topics: [{ topic, numPartitions: 2 }] })).toBe(false);
    expect(await admin.listTopics()).toEqual(expect.arrayContaining(['mqtt', topic]));
    await admin.createPartitions({ topicPartitions: [{ topic, count: 3 }] });
    const { topics } = await admin.fetchTopicMetadata({ topics: [topic] });
    expect(topics[0]!.partitions.map(({ partitionId, leader }) => [partitionId, leader]).sort()).toEqual([
      [0, 1],
      [1, 1],
      [2, 1],
    ]);
    const resource = { type: ConfigResourceTypes.TOPIC, name: topic };
    await admin.alterConfigs({
      validateOnly: false,
      resources: [{ ...resource, configEntries: [{ name: 'retention.bytes', value: '1048576' }] }],
    });
    const { resources } = await admin.describeConfigs({ resources: [resource], includeSynonyms: false });
    const config = new Map(resources[0]!.configEntries.map((entry) => [entry.configName, entry.configValue]));
    expect(config.get('retention.bytes')).toBe('1048576');
    await produce(topic, 0, 30);
    const offsets = await admin.fetchTopicOffsets(topic);
    expect(offsets.reduce((sum, { high }) => sum + Number(high), 0)).toBe(30);
    const busiest = offsets.reduce((a, b) => (Number(a.high) > Number(b.high) ? a : b));
    await admin.deleteTopicRecords({ topic, partitions: [{ partition: busiest.partition, offset: '2' }] });
    const trimmed = (await admin.fetchTopicOffsets(topic)).find(
      ({ partition }) => partition === busiest.partition,
    );
    expect(trimmed).toMatchObject({ low: '2', high: busiest.high });
    await admin.deleteTopics({ topics: [topic] });
    expect(await admin.listTopics()).not.toContain(topic);
    await admin.disconnect();
    // The client takes this answer for one that may change, and would ask again for ten seconds.
    const hasty = kafka.admin({ retry: { retries: 0 } });
    await hasty.connect();
    await expect(hasty.deleteTopics({ topics: ['no-such-topic'] })).rejects.toThrow(/does not host/);
    await hasty.disconnect();
  });

  it('lists, describes, moves and deletes groups', async () => {
    const admin = kafka.admin();
    await admin.connect();
    const topic = 'grouped';
    await admin.createTopics({ topics: [{ topic, numPartitions: 1 }] });
    await produce(topic, 0, 10);
    const { consumer, received } = await consume('moved-group', topic);
    await waitUntil(() => received.length === 10);
    const { groups } = await admin.describeGroups(['moved-group']);
    expect(groups[0]).toMatchObject({ state: 'Stable', protocolType: 'consumer' });
    await consumer.disconnect();
    expect((await admin.listGroups()).groups.map(({ groupId }) => groupId)).toContain('moved-group');
    const offsets = async (): Promise<string | undefined> => {
      const [answer] = await admin.fetchOffsets({ groupId: 'moved-group', topics: [topic] });
      return answer!.partitions[0]?.offset;
    };
    expect(await offsets()).toBe('10');
    await admin.setOffsets({ groupId: 'moved-group', topic, partitions: [{ partition: 0, offset: '4' }] });
    expect(await offsets()).toBe('4');
    const again = await consume('moved-group', topic);
    await waitUntil(() => again.received.length === 6);
    await again.consumer.disconnect();
    await admin.deleteGroups(['moved-group']);
    expect((await admin.listGroups()).groups.map(({ groupId }) => groupId)).not.toContain('moved-group');
    const cluster = await admin.describeCluster();
    expect(cluster.brokers).toEqual([{ nodeId: 1, host: '127.0.0.1', port: server.ports.kafka }]);
    await admin.disconnect();
  });
});

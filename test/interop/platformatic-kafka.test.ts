import { once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
// @ts-ignore: an optional dependency
import type { Consumer, Message, MessagesStream } from '@platformatic/kafka';
import { ServerProcess, waitUntil } from '@robustmq/testkit';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';

// Real processes, on a machine that other tests use too.
vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 });

// @ts-ignore: an optional dependency
type Client = typeof import('@platformatic/kafka');
type Text = Message<string, string, string, string>;

/** An optional dependency: it needs Node 20.19.4, this project 20.19.0. */
// @ts-ignore: so it may not be there
const client: Client | null = await import('@platformatic/kafka').catch(() => null);
const name =
  client === null ? '@platformatic/kafka (not installed: it needs Node 20.19.4)' : '@platformatic/kafka';

describe.skipIf(client === null)(name, () => {
  // The body runs where its tests are skipped as well.
  const { Admin, Consumer, Producer, stringDeserializers, stringSerializers } = (client ?? {}) as Client;
  let server: ServerProcess;
  let bootstrapBrokers: string[];

  beforeAll(async () => {
    server = await ServerProcess.start();
    bootstrapBrokers = [server.address('kafka')];
  });

  afterAll(async () => {
    await server[Symbol.asyncDispose]();
  });

  const newProducer = () =>
    new Producer({
      clientId: 'test',
      bootstrapBrokers,
      serializers: stringSerializers,
      autocreateTopics: true,
    });

  async function consume(
    groupId: string,
    topic: string,
  ): Promise<{
    consumer: Consumer<string, string, string, string>;
    stream: MessagesStream<string, string, string, string>;
    received: Text[];
    end: () => Promise<void>;
  }> {
    const consumer = new Consumer({
      clientId: 'test',
      groupId,
      bootstrapBrokers,
      deserializers: stringDeserializers,
      maxWaitTime: 100,
    });
    const stream = await consumer.consume({
      topics: [topic],
      mode: 'committed',
      fallbackMode: 'earliest',
      autocommit: false,
    });
    const received: Text[] = [];
    stream.on('data', (message: Text) => received.push(message));
    const end = async (): Promise<void> => {
      await stream.close();
      await consumer.close(true);
    };
    return { consumer, stream, received, end };
  }

  async function produce(topic: string, from: number, to: number): Promise<void> {
    const producer = newProducer();
    const messages = Array.from({ length: to - from }, (_, index) => ({
      topic,
      key: `key-${(from + index) % 5}`,
      value: String(from + index),
    }));
    await producer.send({ messages });
    await producer.close();
  }

  const numbers = (received: readonly Text[]): number[] =>
    received.map(({ value }) => Number(value)).sort((a, b) => a - b);
  const range = (from: number, to: number): number[] =>
    Array.from({ length: to - from }, (_, index) => from + index);

  for (const compression of ['none', 'gzip', 'snappy', 'lz4', 'zstd'] as const) {
    const missing =
      compression === 'zstd' && client?.compressionsAlgorithms.zstd.available !== true
        ? ' (this Node has no zstd)'
        : '';
    it.skipIf(missing !== '')(`produces and consumes with ${compression}${missing}`, async () => {
      const topic = `compressed-${compression}`;
      const producer = newProducer();
      const value = 'a long value that repeats itself, '.repeat(30);
      const messages = range(0, 50).map((index) => ({
        topic,
        key: 'same key',
        value: `${value}${index}`,
        headers: { h: `header ${index}` },
        timestamp: 1_700_000_000_000n + BigInt(index),
      }));
      await producer.send({ messages, compression });
      await producer.close();
      const { received, end } = await consume(`group-${compression}`, topic);
      await waitUntil(() => received.length === 50);
      await end();
      expect(received.map((message) => Number(message.offset))).toEqual(range(0, 50));
      expect(received.map((message) => message.value)).toEqual(messages.map((message) => message.value));
      expect(received[7]).toMatchObject({ key: 'same key', timestamp: 1_700_000_000_007n });
      expect(received[7]!.headers.get('h')).toBe('header 7');
    });
  }

  it('resumes a group where it committed', async () => {
    const topic = 'resume';
    await produce(topic, 0, 60);
    const first = await consume('resume-group', topic);
    await waitUntil(() => first.received.length === 60);
    for (const message of first.received) await message.commit();
    await first.end();
    await produce(topic, 60, 90);
    const second = await consume('resume-group', topic);
    await waitUntil(() => second.received.length >= 30);
    await delay(300);
    await second.end();
    expect(numbers(second.received)).toEqual(range(60, 90));
  });

  it('shares partitions between members and takes them over', async () => {
    const topic = 'shared';
    const admin = new Admin({ clientId: 'admin', bootstrapBrokers });
    await admin.createTopics({ topics: [topic], partitions: 4, replicas: 1 });
    const one = await consume('shared-group', topic);
    const two = await consume('shared-group', topic);
    await waitUntil(async () => {
      const group = (await admin.describeGroups({ groups: ['shared-group'] })).get('shared-group');
      return group?.state === 'STABLE' && group.members.size === 2;
    });
    await produce(topic, 0, 100);
    await waitUntil(() => new Set(numbers([...one.received, ...two.received])).size === 100);
    expect(one.received.length).toBeGreaterThan(0);
    expect(two.received.length).toBeGreaterThan(0);
    const rejoined = once(two.consumer, 'consumer:group:join');
    await one.end();
    await rejoined;
    await produce(topic, 100, 150);
    await waitUntil(() => range(100, 150).every((value) => numbers(two.received).includes(value)));
    await two.end();
    await admin.close();
  });

  it('produces with idempotence', async () => {
    const producer = new Producer({
      clientId: 'test',
      bootstrapBrokers,
      serializers: stringSerializers,
      autocreateTopics: true,
      idempotent: true,
    });
    for (let value = 0; value < 20; value++) {
      await producer.send({ messages: [{ topic: 'idempotent', key: 'k', value: String(value) }] });
    }
    await producer.close();
    const { received, end } = await consume('idempotent-group', 'idempotent');
    await waitUntil(() => received.length === 20);
    await end();
    expect(received.map(({ value }) => Number(value))).toEqual(range(0, 20));
  });

  it('creates, lists and deletes topics and groups', async () => {
    const admin = new Admin({ clientId: 'admin', bootstrapBrokers });
    const topic = 'managed';
    const configs = [{ name: 'retention.ms', value: '60000' }];
    const [created] = await admin.createTopics({ topics: [topic], partitions: 3, replicas: 1, configs });
    expect(created).toMatchObject({ name: topic, partitions: 3 });
    expect(created!.configuration['retention.ms']).toBe('60000');
    expect(await admin.listTopics()).toContain(topic);
    await produce(topic, 0, 10);
    const { consumer, received, end } = await consume('managed-group', topic);
    await waitUntil(() => received.length === 10);
    await received.at(-1)!.commit();
    const offsets = await consumer.listOffsets({ topics: [topic], timestamp: -1n });
    expect(offsets.get(topic)!.reduce((sum, offset) => sum + Number(offset), 0)).toBe(10);
    await end();
    expect([...(await admin.listGroups()).keys()]).toContain('managed-group');
    await admin.deleteGroups({ groups: ['managed-group'] });
    expect([...(await admin.listGroups()).keys()]).not.toContain('managed-group');
    await admin.deleteTopics({ topics: [topic] });
    expect(await admin.listTopics()).not.toContain(topic);
    const again = admin.deleteTopics({ topics: [topic] });
    await expect(again).rejects.toThrow();
    await admin.close();
  });
});

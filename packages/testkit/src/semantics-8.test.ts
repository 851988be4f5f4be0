import { silentLogger, systemClock, systemRandom } from '@robustmq/core';
import { openJournal } from '@robustmq/journal';
import { createKafkaAdapter } from '@robustmq/kafka';
import { metadata } from '@robustmq/kafka-codec';
import { SimClock, SimDisk, SimRandom } from '@robustmq/sim';
import { describe, expect, it } from 'vitest';
import { KafkaClient } from './kafka-client.ts';
import { append, brokerBatch } from './kernel-fixture.ts';
import { createMemoryStorage, startKernel } from './memory-kernel.ts';
import { MqttBroker } from './mqtt-broker.ts';
import { waitUntil } from './wait-until.ts';

describe('semantics 8.1: bounds of a tenant', () => {
  it('1,000 topics come about by use, more get Kafka error 44; creating them is not limited', async () => {
    const kernel = await startKernel(await createMemoryStorage(), {
      options: {
        topics: {
          tenant: 'default',
          defaultTopic: 'mqtt',
          defaultTopicShards: 1,
          defaultTopicConfig: new Map(),
          autoCreateShards: 1,
          autoCreateMax: 1000,
        },
      },
    });
    const kafka = createKafkaAdapter(
      { hosts: ['127.0.0.1'], port: 0, nodeId: 1 },
      { kernel, clock: systemClock, random: systemRandom, logger: silentLogger },
    );
    await kafka.start();
    const client = await KafkaClient.connect(kafka.address());
    const ask = async (names: readonly string[]): Promise<number[]> => {
      const topics = names.map((name) => ({ name }));
      const answer = await client.send(metadata, 9, { topics, allowAutoTopicCreation: true });
      return answer.topics.map(({ errorCode }) => errorCode);
    };
    const names = Array.from({ length: 1000 }, (_, at) => `used-${at}`);
    expect(new Set(await ask(names))).toEqual(new Set([0]));
    expect(await ask(['one-more', 'used-1'])).toEqual([44, 0]);
    await kernel.topics.create('created', 1);
    expect(await ask(['created'])).toEqual([0]);
    client.close();
    await kafka.stop();
    await kernel.stop();
  });

  it('retained messages, by number and by bytes: 0x97 beyond, other publishes go on, clearing makes room', async () => {
    await using broker = await MqttBroker.start();
    const usage = broker.kernel.retainedUsage;
    expect([usage.recordsMax, usage.bytesMax]).toEqual([1_000_000, 2 ** 30]);
    const client = await broker.connect(5, { clientId: 'c' });
    const retain = (topic: string, payload: string) =>
      client.publishAcknowledged({ topic, payload, retain: true });
    expect(await retain('r/1', 'state')).toBe(0);
    expect(usage.records).toBe(1);
    for (const bound of ['records', 'bytes'] as const) {
      const missing = (bound === 'records' ? usage.recordsMax : usage.bytesMax) - usage[bound];
      usage[bound] += missing;
      expect(await retain('r/2', 'v')).toBe(0x97);
      expect(await client.publishAcknowledged({ topic: 'r/2', payload: 'v' })).toBe(0);
      // A device whose state is retained already goes on saying it.
      expect(await retain('r/1', 'other')).toBe(0);
      expect(await retain('r/1', 'larger state')).toBe(bound === 'bytes' ? 0x97 : 0);
      expect(await retain('r/1', '')).toBe(0);
      usage[bound] -= missing;
      expect(await retain('r/1', 'again')).toBe(0);
    }
    const watcher = await broker.connect(5, { clientId: 'w' });
    await watcher.subscribe('r/#', 0);
    expect(await watcher.receiveTexts(1)).toEqual(['again']);
    expect(await watcher.settled()).toEqual([]);
  });
});

it('semantics 8.2: a shard costs no timer, entry or segment before its first append', async () => {
  const clock = new SimClock();
  const storage = await createMemoryStorage();
  const kernel = await startKernel(storage, { modules: { clock } });
  const timers = clock.pending;
  const topic = await kernel.topics.create('wide', 10_000);
  const used = (): number =>
    topic.shards.filter((id) => storage.metadata.image.shards.get(id)!.segments.length > 0).length;
  expect([clock.pending, used()]).toEqual([timers, 0]);
  // Opening it to read does not change that.
  const writes = storage.journal.fuse.taken;
  const shard = await kernel.openShard(topic.shards[7]!);
  expect(shard.highWatermark).toBe(0);
  expect([clock.pending, used()]).toEqual([timers, 0]);
  expect(storage.journal.fuse.taken).toBe(writes);
  await kernel.stop();
});

it('semantics 8.2: a shard has no file and no byte on disk before its first append', async () => {
  const clock = new SimClock();
  const storage = await createMemoryStorage();
  const { metadata: records, journal: identity } = storage;
  const disk = new SimDisk();
  const mebibyte = 1024 * 1024;
  const journal = await openJournal({
    disk,
    folder: '/journal',
    nodeId: identity.nodeId,
    uuid: identity.uuid,
    metadata: records,
    clock,
    random: new SimRandom(1),
    logger: silentLogger,
    limits: { walFileBytes: mebibyte, walBytes: 4 * mebibyte, reserveBytes: mebibyte, poolFiles: 0 },
    onFatal: (error) => {
      throw error;
    },
  });
  const kernel = await startKernel(storage, { modules: { clock, journal } });
  /** Every file of the journal with its content. */
  const content = async (): Promise<Map<string, Buffer>> => {
    const found = new Map<string, Buffer>();
    for (const folder of ['wal', 'segments', 'folds']) {
      for (const { name } of await disk.list(`/journal/${folder}`)) {
        found.set(`${folder}/${name}`, disk.peek(`/journal/${folder}/${name}`));
      }
    }
    return found;
  };
  const before = await content();
  const topic = await kernel.topics.create('wide', 10_000);
  const shard = await kernel.openShard(topic.shards[7]!);
  expect(shard.highWatermark).toBe(0);
  await clock.advance(60_000);
  const after = await content();
  expect([...after.keys()]).toEqual([...before.keys()]);
  for (const [path, bytes] of after) expect(bytes.equals(before.get(path)!), path).toBe(true);
  expect(await disk.list('/journal/segments')).toEqual([]);
  // The first append does reach the disk.
  const outcome = append(shard, brokerBatch(['x']));
  await clock.advance(1000);
  expect(await outcome).toBe(0);
  const written = await content();
  expect([...written].some(([path, bytes]) => !before.get(path)?.equals(bytes))).toBe(true);
  await kernel.stop();
  await journal.stop();
});

describe('semantics 8.3: no bound pauses others for one slow reader', () => {
  it('a publisher and other readers go on at the speed of one another beside many that read nothing', async () => {
    await using broker = await MqttBroker.start({ limits: { unsentBytesMax: 32 * 1024 } });
    const publisher = await broker.connect(5, { clientId: 'p' });
    const quick = await broker.connect(5, { clientId: 'quick' });
    await quick.subscribe('load/#', 1);
    for (let at = 0; at < 10; at++) {
      const slow = await broker.connect(5, {
        clientId: `slow${at}`,
        cleanStart: false,
        properties: { sessionExpiry: 60 },
      });
      await slow.subscribe('load/#', 1);
      slow.stall();
    }
    const payload = Buffer.alloc(32 * 1024);
    const count = 250;
    for (let at = 0; at < count; at++) {
      expect(await publisher.publishAcknowledged({ topic: `load/${at % 5}`, payload })).toBe(0);
      await quick.receive(1);
    }
    expect(broker.adapter.counters.connections).toBe(12);
    await waitUntil(() => broker.kernel.appender.inflightBytes === 0);
    expect(broker.kernel.appender.pressed).toBe(false);
  }, 60_000);
});

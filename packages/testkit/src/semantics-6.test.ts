import { silentLogger, systemClock, systemRandom } from '@robustmq/core';
import { createKafkaAdapter } from '@robustmq/kafka';
import { errorCodes, fetch } from '@robustmq/kafka-codec';
import { describe, expect, it, vi } from 'vitest';
import { KafkaClient } from './kafka-client.ts';
import { append, brokerBatch, createShard } from './kernel-fixture.ts';
import { createMemoryStorage, startKernel } from './memory-kernel.ts';
import { MqttBroker } from './mqtt-broker.ts';

const mebibyte = 1024 * 1024;
const kept = { clientId: 's', cleanStart: false, properties: { sessionExpiry: 600 } };

describe('semantics 6.1: trimming and the cursors of kept sessions', () => {
  /** A kept session that is away while 8 MB of messages come and retention wants 1 MiB. */
  async function away(
    sessionBacklogBytes: number,
  ): Promise<{ texts: string[]; truncated: number; start: number }> {
    await using broker = await MqttBroker.start({ options: { sessionBacklogBytes } });
    const config = new Map([
      ['subject.bind', 'true'],
      ['segment.bytes', String(mebibyte)],
      ['retention.bytes', String(mebibyte)],
    ]);
    const topic = await broker.kernel.topics.create('held', 1, config);
    const client = await broker.connect(5, kept);
    await client.subscribe('held/#', 1);
    await client.disconnect();
    const publisher = await broker.connect(5, { clientId: 'p' });
    for (let at = 0; at < 40; at++) {
      const payload = `${at}`.padEnd(200_000);
      expect(await publisher.publishAcknowledged({ topic: 'held/a', payload })).toBe(0);
    }
    await broker.kernel.enforceRetention();
    const shard = await broker.kernel.openShard(topic.shards[0]!);
    const start = shard.startOffset;
    const back = await broker.connect(5, kept);
    const texts = await back.receiveTexts(40 - start);
    expect(await back.settled()).toEqual([]);
    const { sessionsTruncated: truncated } = broker.adapter.counters;
    return { texts: texts.map((text) => text.trim()), truncated, start };
  }

  it('it stops at them while they hold back no more than the bound', async () => {
    const { texts, truncated, start } = await away(100 * mebibyte);
    expect([start, truncated]).toEqual([0, 0]);
    expect(texts).toEqual(Array.from({ length: 40 }, (_, at) => String(at)));
  });

  it('beyond it goes on: the session begins at the log start, and that is counted', async () => {
    const { texts, truncated, start } = await away(3 * mebibyte);
    expect(start).toBeGreaterThan(10);
    expect(start).toBeLessThan(35);
    expect(truncated).toBe(1);
    expect(texts).toEqual(Array.from({ length: 40 - start }, (_, at) => String(start + at)));
  });
});

describe('storage 4.4: trimming asks the filters of what it passes', () => {
  const small = new Map([
    ['subject.bind', 'true'],
    ['segment.bytes', String(mebibyte)],
    ['retention.bytes', String(mebibyte)],
  ]);

  /** 20 messages of 200 kB; retention is due behind them. */
  async function fill(broker: MqttBroker, topic: string): Promise<void> {
    const publisher = await broker.connect(5, { clientId: 'p' });
    for (let at = 0; at < 20; at++)
      await publisher.publishAcknowledged({ topic, payload: `${at}`.padEnd(200_000) });
    await publisher.disconnect();
  }

  /** Kept sessions that subscribe and go. */
  async function leave(broker: MqttBroker, filters: Record<string, string>): Promise<void> {
    for (const [clientId, filter] of Object.entries(filters)) {
      const client = await broker.connect(5, { ...kept, clientId });
      expect(await client.subscribe(filter, 1)).toEqual([1]);
      await client.disconnect();
    }
  }

  it('a session for which there is nothing holds back nothing, moves on, and misses nothing', async () => {
    await using broker = await MqttBroker.start();
    const topic = await broker.kernel.topics.create('held', 1, small);
    await leave(broker, { a: 'held/quiet/+', b: 'held/x/y', c: 'elsewhere/#' });
    await fill(broker, 'held/loud/1');
    await broker.kernel.enforceRetention();
    const shard = await broker.kernel.openShard(topic.shards[0]!);
    const start = shard.startOffset;
    expect(start).toBeGreaterThan(10);
    // It is written where they stand now.
    await broker.restart();
    const publisher = await broker.connect(5, { clientId: 'p' });
    await publisher.publishAcknowledged({ topic: 'held/quiet/1', payload: 'for a' });
    await publisher.publishAcknowledged({ topic: 'held/x/y', payload: 'for b' });
    for (const clientId of ['a', 'b']) {
      const back = await broker.connect(5, { ...kept, clientId });
      expect(await back.receiveTexts(1)).toEqual([`for ${clientId}`]);
      expect(await back.settled()).toEqual([]);
    }
    expect(broker.adapter.counters.sessionsTruncated).toBe(0);
  });

  it('one for which something may be there holds it back, from there on', async () => {
    await using broker = await MqttBroker.start();
    const topic = await broker.kernel.topics.create('held', 1, small);
    await leave(broker, { a: 'held/quiet/+', b: 'held/loud/+' });
    await fill(broker, 'held/other');
    await fill(broker, 'held/loud/1');
    await broker.kernel.enforceRetention();
    const shard = await broker.kernel.openShard(topic.shards[0]!);
    // The segment that holds the first for b stays, what lies before it went.
    expect(shard.startOffset).toBeGreaterThan(10);
    expect(shard.startOffset).toBeLessThanOrEqual(20);
    await broker.kernel.enforceRetention();
    const back = await broker.connect(5, { ...kept, clientId: 'b' });
    const texts = await back.receiveTexts(20);
    expect(texts.map((text) => text.trim())).toEqual(Array.from({ length: 20 }, (_, at) => String(at)));
    expect(broker.adapter.counters.sessionsTruncated).toBe(0);
  });

  it('beyond the bound only those for which something was there are truncated', async () => {
    await using broker = await MqttBroker.start({ options: { sessionBacklogBytes: 2 * mebibyte } });
    await broker.kernel.topics.create('held', 1, small);
    await leave(broker, { a: 'held/quiet/+', b: 'held/loud/+' });
    await fill(broker, 'held/loud/1');
    await fill(broker, 'held/other');
    await broker.kernel.enforceRetention();
    await broker.connect(5, { ...kept, clientId: 'a' });
    expect(broker.adapter.counters.sessionsTruncated).toBe(0);
    const back = await broker.connect(5, { ...kept, clientId: 'b' });
    expect(await back.settled()).toEqual([]);
    expect(broker.adapter.counters.sessionsTruncated).toBe(1);
  });

  it('regression: a topic that came after the session had left was trimmed as if nobody waited', async () => {
    await using broker = await MqttBroker.start();
    await leave(broker, { a: 'held/#' });
    const topic = await broker.kernel.topics.create('held', 1, small);
    await fill(broker, 'held/1');
    await broker.kernel.enforceRetention();
    expect((await broker.kernel.openShard(topic.shards[0]!)).startOffset).toBe(0);
    const back = await broker.connect(5, { ...kept, clientId: 'a' });
    const texts = await back.receiveTexts(20);
    expect(texts.map((text) => text.trim())).toEqual(Array.from({ length: 20 }, (_, at) => String(at)));
  });

  it('records that a client deletes are asked, too', async () => {
    await using broker = await MqttBroker.start();
    const topic = await broker.kernel.topics.create('held', 1, small);
    await leave(broker, { a: 'held/quiet/+', b: 'held/loud/+' });
    const publisher = await broker.connect(5, { clientId: 'p' });
    for (const name of ['held/loud/1', 'held/quiet/1'])
      await publisher.publishAcknowledged({ topic: name, payload: name });
    const shard = await broker.kernel.openShard(topic.shards[0]!);
    await broker.kernel.trim(shard, 1);
    const back = await broker.connect(5, { ...kept, clientId: 'a' });
    expect(await back.receiveTexts(1)).toEqual(['held/quiet/1']);
    expect(broker.adapter.counters.sessionsTruncated).toBe(0);
    await broker.connect(5, { ...kept, clientId: 'b' });
    await vi.waitFor(() => expect(broker.adapter.counters.sessionsTruncated).toBe(1));
  });
});

describe('semantics 6.3: below the log start', () => {
  it('a Kafka fetch gets error 1, and one at the start gets records', async () => {
    const kernel = await startKernel(await createMemoryStorage());
    const shard = await createShard(kernel, 't');
    for (const value of ['a', 'b', 'c']) await append(shard, brokerBatch([value]));
    await kernel.trim(shard, 2);
    const kafka = createKafkaAdapter(
      { hosts: ['127.0.0.1'], port: 0, nodeId: 1 },
      { kernel, clock: systemClock, random: systemRandom, logger: silentLogger },
    );
    await kafka.start();
    const client = await KafkaClient.connect(kafka.address());
    const fetched = async (fetchOffset: number) => {
      const partitions = [{ partition: 0, fetchOffset, partitionMaxBytes: mebibyte }];
      const topics = [{ topic: 't', partitions }];
      const answer = await client.send(fetch, 11, { maxWaitMs: 0, minBytes: 1, topics });
      return answer.responses[0]!.partitions[0]!;
    };
    expect(errorCodes.OFFSET_OUT_OF_RANGE).toBe(1);
    for (const offset of [0, 1, 4]) {
      const { errorCode, logStartOffset } = await fetched(offset);
      expect([errorCode, logStartOffset]).toEqual([1, 2]);
    }
    const { errorCode, records, highWatermark } = await fetched(2);
    expect([errorCode, records!.length > 61, highWatermark]).toEqual([0, true, 3]);
    client.close();
    await kafka.stop();
    await kernel.stop();
  });

  it('a kept session goes on at the start and is counted, once', async () => {
    await using broker = await MqttBroker.start();
    const client = await broker.connect(5, kept);
    await client.subscribe('gone', 1);
    await client.disconnect();
    const publisher = await broker.connect(5, { clientId: 'p' });
    for (const payload of ['1', '2', '3']) await publisher.publishAcknowledged({ topic: 'gone', payload });
    const shard = await broker.kernel.openShard(broker.kernel.subjects.forPublish('gone').shard);
    await broker.kernel.trim(shard, 2);
    const back = await broker.connect(5, kept);
    expect(await back.receiveTexts(1)).toEqual(['3']);
    expect(await back.settled()).toEqual([]);
    expect(broker.adapter.counters.sessionsTruncated).toBe(1);
  });
});

import { silentLogger, systemClock, systemRandom } from '@robustmq/core';
import { createKafkaAdapter } from '@robustmq/kafka';
import { errorCodes, fetch } from '@robustmq/kafka-codec';
import { describe, expect, it } from 'vitest';
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

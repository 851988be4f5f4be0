import { silentLogger, systemClock, systemRandom } from '@robustmq/core';
import { createKafkaAdapter } from '@robustmq/kafka';
import type { KafkaAdapter } from '@robustmq/kafka';
import {
  apiVersions,
  errorCodes,
  fetch,
  findCoordinator,
  initProducerId,
  listOffsets,
  metadata,
  produce,
} from '@robustmq/kafka-codec';
import type { Kernel } from '@robustmq/kernel';
import { BatchEncoder, RecordInput } from '@robustmq/record';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { KafkaClient } from './kafka-client.ts';
import { createMemoryStorage, startKernel } from './memory-kernel.ts';
import { waitUntil } from './wait-until.ts';

let kernel: Kernel;
let kafka: KafkaAdapter;
let client: KafkaClient;
let topicId: string;

beforeAll(async () => {
  kernel = await startKernel(await createMemoryStorage());
  kafka = createKafkaAdapter(
    { hosts: ['127.0.0.1'], port: 0, nodeId: 1 },
    { kernel, clock: systemClock, random: systemRandom, logger: silentLogger },
  );
  await kafka.start();
  client = await KafkaClient.connect(kafka.address());
  topicId = (await kernel.topics.create('t', 2)).id;
});

afterAll(async () => {
  client.close();
  await kafka.stop();
  await kernel.stop();
});

function batchOf(text: string): Buffer {
  const encoder = new BatchEncoder();
  const input = new RecordInput();
  input.timestamp = Date.now();
  input.setKey(null).setValue(Buffer.from(text));
  encoder.append(input);
  return encoder.finish();
}

const versions = (from: number, to: number): number[] =>
  Array.from({ length: to - from + 1 }, (_, index) => from + index);

describe('every version of', () => {
  it.each(versions(0, 4))('ApiVersions v%i', async (version) => {
    const answer = await client.send(apiVersions, version, {});
    expect(answer.errorCode).toBe(errorCodes.NONE);
    expect(answer.apiKeys).toContainEqual({ apiKey: produce.key, minVersion: 0, maxVersion: 13 });
  });

  it.each(versions(0, 13))('Metadata v%i', async (version) => {
    const answer = await client.send(metadata, version, { topics: [{ name: 't' }] });
    expect(answer.brokers).toMatchObject([{ nodeId: 1, ...kafka.address() }]);
    expect(answer.topics).toMatchObject([{ errorCode: 0, name: 't', partitions: [{}, {}] }]);
  });

  it.each(versions(0, 13))('Metadata v%i of all topics', async (version) => {
    const answer = await client.send(metadata, version, { topics: version === 0 ? [] : null });
    expect(answer.topics.map((topic) => topic.name)).toContain('t');
  });

  it.each(versions(3, 13))('Produce v%i', async (version) => {
    const named = version >= 13 ? { topicId } : { name: 't' };
    const answer = await client.send(produce, version, {
      acks: -1,
      timeoutMs: 1000,
      topicData: [{ ...named, partitionData: [{ index: 0, records: batchOf(`v${version}`) }] }],
    });
    expect(answer.responses[0]?.partitionResponses).toMatchObject([
      { errorCode: 0, baseOffset: version - 3 },
    ]);
  });

  it.each(versions(4, 17))('Fetch v%i', async (version) => {
    const named = version >= 13 ? { topicId } : { topic: 't' };
    const partition = { fetchOffset: 0, partitionMaxBytes: 1_000_000 };
    const answer = await client.send(fetch, version, {
      maxWaitMs: 0,
      minBytes: 1,
      topics: [
        {
          ...named,
          partitions: [
            { ...partition, partition: 0 },
            { ...partition, partition: 9 },
          ],
        },
      ],
    });
    const [good, bad] = answer.responses[0]!.partitions;
    expect(good).toMatchObject({ errorCode: 0, highWatermark: 11 });
    expect(good!.records!.length).toBeGreaterThan(61 * 11);
    expect(bad).toMatchObject({ errorCode: errorCodes.UNKNOWN_TOPIC_OR_PARTITION });
  });

  it.each(versions(1, 10))('ListOffsets v%i', async (version) => {
    const at = (partitionIndex: number, timestamp: number) => ({ partitionIndex, timestamp });
    const ask = async (...partitions: ReturnType<typeof at>[]) => {
      const asked = { replicaId: -1, topics: [{ name: 't', partitions }] };
      return (await client.send(listOffsets, version, asked)).topics[0]?.partitions;
    };
    expect(await ask(at(0, -1), at(1, -1), at(9, -1))).toMatchObject([
      { errorCode: 0, offset: 11, leaderEpoch: version >= 4 ? 1 : -1 },
      { errorCode: 0, offset: 0 },
      { errorCode: errorCodes.UNKNOWN_TOPIC_OR_PARTITION },
    ]);
    for (const timestamp of [-2, 1]) {
      expect(await ask(at(0, timestamp))).toMatchObject([{ errorCode: 0, offset: 0 }]);
    }
    expect(await ask(at(0, -1), at(0, -2))).toMatchObject([
      { errorCode: errorCodes.INVALID_REQUEST },
      { errorCode: errorCodes.INVALID_REQUEST },
    ]);
  });

  it.each(versions(0, 5))('InitProducerId v%i', async (version) => {
    const answer = await client.send(initProducerId, version, {
      transactionalId: null,
      transactionTimeoutMs: 0,
    });
    expect(answer).toMatchObject({ errorCode: 0, producerEpoch: 0 });
    const refused = await client.send(initProducerId, version, {
      transactionalId: 'x',
      transactionTimeoutMs: 1,
    });
    expect(refused.errorCode).toBe(errorCodes.TRANSACTIONAL_ID_AUTHORIZATION_FAILED);
  });

  it.each(versions(0, 6))('FindCoordinator v%i', async (version) => {
    const asked = version >= 4 ? { coordinatorKeys: ['g', 'h'] } : { key: 'g' };
    const answer = await client.send(findCoordinator, version, asked);
    if (version >= 4)
      expect(answer.coordinators).toMatchObject([
        { key: 'g', nodeId: 1 },
        { key: 'h', nodeId: 1 },
      ]);
    else expect(answer).toMatchObject({ errorCode: 0, nodeId: 1, ...kafka.address() });
    if (version === 0) return;
    const refused = await client.send(findCoordinator, version, { ...asked, keyType: 1 });
    const code = version >= 4 ? refused.coordinators[0]!.errorCode : refused.errorCode;
    expect(code).toBe(errorCodes.TRANSACTIONAL_ID_AUTHORIZATION_FAILED);
  });
});

describe('stopping', () => {
  it('answers what was received, and does not wait for long polls', async () => {
    const other = createKafkaAdapter(
      { hosts: ['127.0.0.1'], port: 0, nodeId: 1 },
      { kernel, clock: systemClock, random: systemRandom, logger: silentLogger },
    );
    await other.start();
    const writer = await KafkaClient.connect(other.address());
    const reader = await KafkaClient.connect(other.address());
    const polled = reader.send(fetch, 12, {
      maxWaitMs: 60_000,
      minBytes: 1,
      maxBytes: 1000,
      topics: [{ topic: 't', partitions: [{ partition: 1, fetchOffset: 0, partitionMaxBytes: 1000 }] }],
    });
    const lost = expect(polled).rejects.toThrow(/closed/);
    const before = other.counters.requests;
    const produced = writer.send(produce, 9, {
      acks: -1,
      timeoutMs: 1000,
      topicData: [{ name: 't', partitionData: [{ index: 0, records: batchOf('last') }] }],
    });
    await waitUntil(() => other.counters.requests > before);
    await other.stop();
    expect((await produced).responses[0]?.partitionResponses).toMatchObject([{ errorCode: 0 }]);
    await lost;
    await expect(KafkaClient.connect(other.address())).rejects.toThrow();
    writer.close();
    reader.close();
  });
});

describe('more connections than there may be', () => {
  it('are closed at once', async () => {
    const small = createKafkaAdapter(
      { hosts: ['127.0.0.1'], port: 0, nodeId: 1, connectionsMax: 2 },
      { kernel, clock: systemClock, random: systemRandom, logger: silentLogger },
    );
    await small.start();
    const first = await KafkaClient.connect(small.address());
    const second = await KafkaClient.connect(small.address());
    await first.send(apiVersions, 0, {});
    await second.send(apiVersions, 0, {});
    const third = await KafkaClient.connect(small.address());
    await expect(third.send(apiVersions, 0, {})).rejects.toThrow(/closed/);
    expect(small.counters).toMatchObject({ connections: 2, connectionsRefused: 1 });
    first.close();
    await waitUntil(() => small.counters.connections === 1);
    const fourth = await KafkaClient.connect(small.address());
    expect((await fourth.send(apiVersions, 0, {})).errorCode).toBe(errorCodes.NONE);
    for (const each of [second, third, fourth]) each.close();
    await small.stop();
  });
});

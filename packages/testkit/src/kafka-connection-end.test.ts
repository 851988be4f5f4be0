import { openGates } from '@robustmq/core';
import type { Gates } from '@robustmq/core';
import { fetch, findCoordinator, produce } from '@robustmq/kafka-codec';
import { describe, expect, it } from 'vitest';
import { batchOf, fetchFrom, produceTo, RawKafka, requestBytes, startKafka } from './kafka-fixture.ts';
import type { KafkaFixture } from './kafka-fixture.ts';
import { waitUntil } from './wait-until.ts';

const topic = 'ends';

async function started(gates: Gates = openGates): Promise<KafkaFixture> {
  const fixture = await startKafka({}, gates);
  await fixture.kernel.topics.create(topic, 1, new Map());
  return fixture;
}

function fetchBytes(fetchOffset: number, maxWaitMs: number): Buffer {
  const partitions = [{ partition: 0, fetchOffset, partitionMaxBytes: 1 << 26 }];
  return requestBytes(fetch, 11, {
    maxWaitMs,
    minBytes: 1,
    maxBytes: 1 << 26,
    topics: [{ topic, partitions }],
  });
}

it('regression: a client that sent something while the server stopped lost the answer on its way', async () => {
  const { kafka, kernel, client } = await started();
  // More than the system holds for both sides.
  for (let at = 0; at < 16; at++) await produceTo(client, topic, batchOf(['x'.repeat(900_000)]));
  const whole = (await fetchFrom(client, topic, 0, { partitionMaxBytes: 1 << 26 })).records!.length;
  const raw = await RawKafka.connect(kafka);
  raw.socket.pause();
  raw.send(fetchBytes(0, 0));
  await waitUntil(() => kafka.counters.unsentBytes > 0);
  const stopped = kafka.stop();
  raw.send(requestBytes(findCoordinator, 1, { key: 'late', keyType: 0 }));
  await new Promise((resolve) => setTimeout(resolve, 200));
  raw.socket.resume();
  expect((await raw.answer())!.length).toBeGreaterThan(whole);
  raw.close();
  client.close();
  await stopped;
  await kernel.stop();
});

describe('a client that is gone is noticed at once', () => {
  it.each([
    ['while its requests wait', 64],
    ['while so many wait that it is not read', 70],
  ])('%s', async (_when, fetches) => {
    const { kafka, stop } = await started();
    const raw = await RawKafka.connect(kafka);
    const before = kafka.counters.connections;
    raw.send(Buffer.concat(Array.from({ length: fetches }, () => fetchBytes(0, 60_000))));
    await waitUntil(() => kafka.counters.requests >= 64);
    await new Promise((resolve) => setTimeout(resolve, 50));
    raw.close();
    await waitUntil(() => kafka.counters.connections < before);
    await stop();
  });

  it('while memory is short and producers are not read', async () => {
    const publishers = { closed: false, whenOpen: () => undefined, forget: () => undefined };
    const { kafka, stop } = await started({ ...openGates, publishers });
    const raw = await RawKafka.connect(kafka);
    const before = kafka.counters.connections;
    const topicData = [{ name: topic, partitionData: [{ index: 0, records: batchOf(['x']) }] }];
    publishers.closed = true;
    raw.send(requestBytes(produce, 9, { acks: -1, timeoutMs: 30_000, topicData }));
    expect(await raw.answer()).not.toBeNull();
    raw.close();
    await waitUntil(() => kafka.counters.connections < before);
    await stop();
  });
});

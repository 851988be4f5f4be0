import {
  decodeResponse,
  errorCodes,
  fetch,
  findCoordinator,
  joinGroup,
  produce,
} from '@robustmq/kafka-codec';
import { nextBatch } from '@robustmq/record';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { batchOf, fetchFrom, RawKafka, requestBytes, startKafka } from './kafka-fixture.ts';
import type { KafkaFixture } from './kafka-fixture.ts';
import { waitUntil } from './wait-until.ts';

let kafka: KafkaFixture;
let raw: RawKafka;
let topic: string;
let names = 0;

beforeAll(async () => {
  kafka = await startKafka({ groups: { initialDelayMs: 300 } });
});

beforeEach(async () => {
  topic = `memory${names++}`;
  await kafka.kernel.topics.create(topic, 1, new Map());
  raw = await RawKafka.connect(kafka.kafka);
});

afterAll(async () => {
  expect(kafka.failures).toEqual([]);
  await kafka.stop();
});

function produceOf(records: Buffer): Buffer {
  const topicData = [{ name: topic, partitionData: [{ index: 0, records }] }];
  return requestBytes(produce, 9, { acks: -1, timeoutMs: 30_000, topicData });
}

/** Has others send so much that what a request was read into is written over, several times. */
async function writeOver(): Promise<void> {
  const other = await RawKafka.connect(kafka.kafka);
  const noise = requestBytes(findCoordinator, 1, { key: '\xdd'.repeat(7000), keyType: 0 });
  for (let round = 0; round < 3; round++) {
    other.send(noise);
    expect(await other.answer()).not.toBeNull();
  }
  other.close();
}

async function stored(): Promise<Buffer> {
  const { records } = await fetchFrom(kafka.client, topic, 0);
  // The offset and the epoch are the broker's.
  return records!.subarray(16);
}

describe('what is read next lies where a request lay; so it is whole all the same', () => {
  it('when the shard of its partition is still being opened', async () => {
    const { kernel } = kafka;
    const open = kernel.openShard.bind(kernel);
    let goOn: () => void = () => undefined;
    const held = new Promise<void>((resolve) => (goOn = resolve));
    kernel.openShard = (id) => held.then(() => open(id));
    const batch = batchOf(['opening'.repeat(100)]);
    raw.send(produceOf(batch));
    await writeOver();
    kernel.openShard = open;
    goOn();
    expect(await raw.answer()).not.toBeNull();
    expect(await stored()).toEqual(batch.subarray(16));
  });

  it('when it waits for a fetch before it', async () => {
    const batch = batchOf(['waiting'.repeat(100)]);
    const topics = [{ topic, partitions: [{ partition: 0, fetchOffset: 0, partitionMaxBytes: 1000 }] }];
    const poll = requestBytes(fetch, 11, { maxWaitMs: 500, minBytes: 1, maxBytes: 1000, topics });
    raw.send(Buffer.concat([poll, produceOf(batch)]));
    await waitUntil(() => kafka.kafka.counters.requests > 0);
    await writeOver();
    expect(await raw.answer()).not.toBeNull();
    expect(await raw.answer()).not.toBeNull();
    expect(await stored()).toEqual(batch.subarray(16));
  });

  it('when it is answered with the bytes of other members, much later', async () => {
    const metadata = Buffer.from('subscription '.repeat(50));
    const join = { groupId: topic, memberId: '', sessionTimeoutMs: 10_000, protocolType: 'consumer' };
    const request = { ...join, protocols: [{ name: 'range', metadata }] };
    raw.send(requestBytes(joinGroup, 3, request));
    await writeOver();
    const answer = decodeResponse(joinGroup, 3, (await raw.answer())!);
    expect(answer.errorCode).toBe(errorCodes.NONE);
    expect(answer.members.map((member) => Buffer.from(member.metadata))).toEqual([metadata]);
  });

  it('when many are read in one turn', async () => {
    const clients = await Promise.all(Array.from({ length: 20 }, () => RawKafka.connect(kafka.kafka)));
    const batches = clients.map((_, at) => batchOf([String.fromCharCode(97 + at).repeat(500)]));
    for (let round = 0; round < 20; round++) {
      clients.forEach((client, at) => client.send(produceOf(batches[at]!)));
      for (const client of clients) expect(await client.answer()).not.toBeNull();
    }
    const { records } = await fetchFrom(kafka.client, topic, 0, { partitionMaxBytes: 1 << 22 });
    const times = batches.map(() => 0);
    for (let at = 0, next = nextBatch(records!, 0); next !== -1; at = next, next = nextBatch(records!, at)) {
      const batch = records!.subarray(at + 16, next);
      const sent = batches.findIndex((each) => each.subarray(16).equals(batch));
      times[sent] = (times[sent] ?? 0) + 1;
    }
    expect(times).toEqual(batches.map(() => 20));
    for (const client of clients) client.close();
  });

  it('when it has not come to an end', async () => {
    const batch = batchOf(['in pieces'.repeat(100)]);
    const bytes = produceOf(batch);
    raw.send(bytes.subarray(0, 300));
    await waitUntil(() => kafka.kafka.counters.partialBytes > 0);
    await writeOver();
    raw.send(bytes.subarray(300));
    expect(await raw.answer()).not.toBeNull();
    expect(await stored()).toEqual(batch.subarray(16));
  });
});

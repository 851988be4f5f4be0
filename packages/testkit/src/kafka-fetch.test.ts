import { decodeResponse, errorCodes, fetch, produce } from '@robustmq/kafka-codec';
import { computeBatchCrc, nextBatch } from '@robustmq/record';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  baseOffsets,
  batchOf,
  fetchFrom,
  produceTo,
  RawKafka,
  requestBytes,
  startKafka,
} from './kafka-fixture.ts';
import type { KafkaFixture } from './kafka-fixture.ts';
import { KafkaClient } from './kafka-client.ts';
import { RecordLog } from './record-log.ts';
import { waitUntil } from './wait-until.ts';

let kafka: KafkaFixture;
let other: KafkaClient;
let names = 0;

beforeAll(async () => {
  kafka = await startKafka();
  other = await KafkaClient.connect(kafka.kafka.address());
});

afterAll(async () => {
  expect(kafka.failures).toEqual([]);
  other.close();
  await kafka.stop();
});

async function newTopic(partitions = 1): Promise<string> {
  const name = `f${names++}`;
  await kafka.kernel.topics.create(name, partitions);
  return name;
}

/** Produces batches in one turn, so that they share an entry of the log. */
async function produceTogether(topic: string, batches: readonly Buffer[]): Promise<void> {
  await produceTo(other, topic, batchOf(['opens the shard']));
  const sent = await Promise.all(batches.map((batch) => produceTo(other, topic, batch)));
  expect(sent.every(({ errorCode }) => errorCode === 0)).toBe(true);
}

describe('a fetch', () => {
  it('kafka defect 1: from the middle of a batch gets the whole batch', async () => {
    const topic = await newTopic();
    await produceTo(other, topic, batchOf(['a', 'b', 'c', 'd']));
    await produceTo(other, topic, batchOf(['e', 'f']));
    for (const offset of [0, 1, 3]) {
      expect(baseOffsets((await fetchFrom(kafka.client, topic, offset)).records)).toEqual([0, 4]);
    }
    expect(baseOffsets((await fetchFrom(kafka.client, topic, 5)).records)).toEqual([4]);
    expect(await fetchFrom(kafka.client, topic, 6)).toMatchObject({ errorCode: 0, highWatermark: 6 });
  });

  it('begins with the batch of its offset, also where batches were appended together', async () => {
    const topic = await newTopic();
    await produceTogether(
      topic,
      Array.from({ length: 20 }, () => batchOf(['x', 'y'])),
    );
    expect(baseOffsets((await fetchFrom(kafka.client, topic, 16)).records)[0]).toBe(15);
    expect(baseOffsets((await fetchFrom(kafka.client, topic, 17)).records)[0]).toBe(17);
    expect(baseOffsets((await fetchFrom(kafka.client, topic, 40)).records)).toEqual([39]);
  });

  it('gets whole batches within its limits: the entry that they share was all or nothing', async () => {
    const topic = await newTopic();
    const one = batchOf(['x'.repeat(1000)]);
    await produceTogether(
      topic,
      Array.from({ length: 20 }, () => one),
    );
    const limited = async (partitionMaxBytes: number, maxBytes = 1 << 26) =>
      baseOffsets((await fetchFrom(kafka.client, topic, 1, { partitionMaxBytes, maxBytes })).records);
    expect(await limited(one.length * 3 + 5)).toEqual([1, 2, 3]);
    expect(await limited(1 << 20, one.length * 2)).toEqual([1, 2]);
    // At least one, whatever the limits.
    expect(await limited(0)).toEqual([1]);
    expect(await limited(-1, -1)).toEqual([1]);
  });

  it('fills partitions in the order of the request; only the first may exceed the limits', async () => {
    const topic = await newTopic(3);
    const value = 'x'.repeat(10_000);
    for (const partition of [0, 1, 2]) await produceTo(other, topic, batchOf([value]), { partition });
    const ask = async (order: readonly number[], maxBytes: number): Promise<number[]> => {
      const partitions = order.map((partition) => ({
        partition,
        fetchOffset: 0,
        partitionMaxBytes: 1 << 20,
      }));
      const asked = { maxWaitMs: 0, minBytes: 1, maxBytes, topics: [{ topic, partitions }] };
      const answer = await kafka.client.send(fetch, 11, asked);
      return answer.responses[0]!.partitions.map(({ records }) => baseOffsets(records).length);
    };
    expect(await ask([2, 0, 1], 1)).toEqual([1, 0, 0]);
    expect(await ask([1, 2, 0], 21_000)).toEqual([1, 1, 0]);
    expect(await ask([0, 1, 2], 1 << 20)).toEqual([1, 1, 1]);
  });

  it('never gets what is not committed, and waits for it', async () => {
    const topic = await newTopic();
    await produceTo(other, topic, batchOf(['committed']));
    kafka.storage.journal.hold();
    const pending = produceTo(other, topic, batchOf(['not yet']));
    await waitUntil(() => kafka.kernel.appender.inflightBytes > 0);
    expect(await fetchFrom(kafka.client, topic, 0)).toMatchObject({ errorCode: 0, highWatermark: 1 });
    expect(baseOffsets((await fetchFrom(kafka.client, topic, 0)).records)).toEqual([0]);
    // A replica is a consumer like any other: clients cannot claim to be one and read ahead.
    const partitions = [{ partition: 0, fetchOffset: 0, partitionMaxBytes: 1 << 20 }];
    const asked = { maxWaitMs: 0, minBytes: 1, maxBytes: 1 << 20, topics: [{ topic, partitions }] };
    const replica = await kafka.client.send(fetch, 11, { ...asked, replicaId: 2 });
    expect(baseOffsets(replica.responses[0]!.partitions[0]!.records)).toEqual([0]);
    const waiting = fetchFrom(kafka.client, topic, 1, { maxWaitMs: 10_000 });
    kafka.storage.journal.release();
    expect(baseOffsets((await waiting).records)).toEqual([1]);
    expect((await pending).baseOffset).toBe(1);
  });

  it('outside the log gets OFFSET_OUT_OF_RANGE at once', async () => {
    const topic = await newTopic();
    await produceTo(other, topic, batchOf(['a', 'b']));
    for (const offset of [3, 1e9, -1]) {
      const found = await fetchFrom(kafka.client, topic, offset, { maxWaitMs: 10_000 });
      expect(found).toMatchObject({
        errorCode: errorCodes.OFFSET_OUT_OF_RANGE,
        highWatermark: 2,
        logStartOffset: 0,
      });
    }
  });

  it('of what is not there gets the error, whatever else it asks for', async () => {
    const topic = await newTopic();
    const ask = (partition: number) => ({ partition, fetchOffset: 0, partitionMaxBytes: 1000 });
    const topics = [
      { topic: 'absent', partitions: [ask(0)] },
      { topic, partitions: [ask(0), ask(1), ask(-1)] },
    ];
    const answer = await kafka.client.send(fetch, 11, {
      maxWaitMs: 10_000,
      minBytes: 1,
      maxBytes: 1000,
      topics,
    });
    expect(answer.responses.map(({ partitions }) => partitions.map(({ errorCode }) => errorCode))).toEqual([
      [errorCodes.UNKNOWN_TOPIC_OR_PARTITION],
      [0, errorCodes.UNKNOWN_TOPIC_OR_PARTITION, errorCodes.UNKNOWN_TOPIC_OR_PARTITION],
    ]);
  });

  it('with another epoch gets 74 or 75', async () => {
    const topic = await newTopic();
    await produceTo(other, topic, batchOf(['a']));
    const ask = async (currentLeaderEpoch: number): Promise<number> => {
      const partitions = [{ partition: 0, fetchOffset: 0, partitionMaxBytes: 1000, currentLeaderEpoch }];
      const asked = { maxWaitMs: 0, minBytes: 1, maxBytes: 1000, topics: [{ topic, partitions }] };
      return (await kafka.client.send(fetch, 11, asked)).responses[0]!.partitions[0]!.errorCode;
    };
    const { epoch } = await kafka.kernel.openShard(kafka.kernel.topics.byName(topic)!.shards[0]!);
    expect(await ask(epoch)).toBe(0);
    expect(await ask(epoch - 1)).toBe(errorCodes.FENCED_LEADER_EPOCH);
    expect(await ask(epoch + 1)).toBe(errorCodes.UNKNOWN_LEADER_EPOCH);
  });

  it('of a session that we did not give out gets 70: it was answered with nothing, at once, for ever', async () => {
    const asked = { maxWaitMs: 0, minBytes: 1, maxBytes: 1000, topics: [] };
    const ask = async (sessionId: number, sessionEpoch: number) =>
      (await kafka.client.send(fetch, 11, { ...asked, sessionId, sessionEpoch })).errorCode;
    expect(await ask(5, 1)).toBe(errorCodes.FETCH_SESSION_ID_NOT_FOUND);
    expect(await ask(0, 3)).toBe(errorCodes.FETCH_SESSION_ID_NOT_FOUND);
    expect(await ask(0, 0)).toBe(0);
    expect(await ask(0, -1)).toBe(0);
    expect(await ask(5, -1)).toBe(0);
  });
});

describe('a long poll', () => {
  it('ends with the first record', async () => {
    const topic = await newTopic(2);
    const partitions = [0, 1].map((partition) => ({ partition, fetchOffset: 0, partitionMaxBytes: 1000 }));
    const asked = { maxWaitMs: 20_000, minBytes: 1, maxBytes: 1000, topics: [{ topic, partitions }] };
    const from = performance.now();
    const waiting = kafka.client.send(fetch, 11, asked);
    await produceTo(other, topic, batchOf(['x']), { partition: 1 });
    const answer = await waiting;
    expect(answer.responses[0]!.partitions.map(({ records }) => baseOffsets(records).length)).toEqual([0, 1]);
    expect(performance.now() - from).toBeLessThan(10_000);
  });

  it('ends with nothing when its time is over', async () => {
    const topic = await newTopic();
    const from = performance.now();
    const found = await fetchFrom(kafka.client, topic, 0, { maxWaitMs: 200 });
    expect(found).toMatchObject({ errorCode: 0, highWatermark: 0 });
    expect(baseOffsets(found.records)).toEqual([]);
    expect(performance.now() - from).toBeGreaterThan(190);
  });

  it('gathers the bytes that it asks for, over many small appends', async () => {
    const topic = await newTopic();
    const waiting = fetchFrom(kafka.client, topic, 0, { maxWaitMs: 20_000, minBytes: 50_000 });
    let done = false;
    void waiting.then(() => (done = true));
    let sent = 0;
    while (!done) {
      await produceTo(other, topic, batchOf(['x'.repeat(1000)]));
      sent++;
    }
    expect((await waiting).records!.length).toBeGreaterThanOrEqual(50_000);
    expect(sent).toBeGreaterThan(40);
  });

  it('gets what there is when its time is over before it has enough', async () => {
    const topic = await newTopic();
    await produceTo(other, topic, batchOf(['x']));
    const found = await fetchFrom(kafka.client, topic, 0, { maxWaitMs: 100, minBytes: 1 << 20 });
    expect(baseOffsets(found.records)).toEqual([0]);
  });

  it('does not wait for more than it may be given', async () => {
    const topic = await newTopic();
    for (let count = 0; count < 10; count++) await produceTo(other, topic, batchOf(['x'.repeat(1000)]));
    const from = performance.now();
    await fetchFrom(kafka.client, topic, 0, { maxWaitMs: 10_000, minBytes: 5000, maxBytes: 4000 });
    expect(performance.now() - from).toBeLessThan(5000);
  });

  it('of a topic that is deleted meanwhile is answered: it closed the connection', async () => {
    const topic = await newTopic();
    await produceTo(other, topic, batchOf(['x']));
    const waiting = fetchFrom(kafka.client, topic, 1, { maxWaitMs: 300 });
    await kafka.kernel.topics.delete(kafka.kernel.topics.byName(topic)!);
    const { errorCode } = await waiting;
    expect([errorCodes.UNKNOWN_TOPIC_OR_PARTITION, errorCodes.NOT_LEADER_OR_FOLLOWER]).toContain(errorCode);
  });

  it('holds back what follows on its connection, and nothing on another', async () => {
    const topic = await newTopic();
    const order: string[] = [];
    const waiting = fetchFrom(kafka.client, topic, 0, { maxWaitMs: 300 }).then(() => order.push('poll'));
    const behind = fetchFrom(kafka.client, topic, 0).then(() => order.push('behind'));
    const beside = fetchFrom(other, topic, 0).then(() => order.push('beside'));
    await Promise.all([waiting, behind, beside]);
    expect(order).toEqual(['beside', 'poll', 'behind']);
  });
});

it('kafka defect 23: offsets are dense and in the order of the appends, over clients and partitions', async () => {
  const topic = await newTopic(2);
  const clients = [kafka.client, other];
  const values = (call: number, partition: number): string[] =>
    ['a', 'b', 'c'].map((record) => `${call} ${partition} ${record}`);
  const send = async (call: number): Promise<readonly number[]> => {
    const partitionData = [0, 1].map((index) => ({ index, records: batchOf(values(call, index)) }));
    const answer = await clients[call % 2]!.send(produce, 9, {
      acks: -1,
      timeoutMs: 1000,
      topicData: [{ name: topic, partitionData }],
    });
    return answer.responses[0]!.partitionResponses.map(({ baseOffset }) => baseOffset);
  };
  // Many at once on each connection; then each behind the answer of the one before, which the other connection got.
  const together = 200;
  const bases = await Promise.all(Array.from({ length: together }, (_, call) => send(call)));
  while (bases.length < together + 20) bases.push(await send(bases.length));

  const log = await RecordLog.connect(kafka.kafka.address().port);
  const stored = await log.read(topic);
  log.close();
  for (const partition of [0, 1]) {
    const given = bases.map((base) => base[partition]!);
    for (const client of [0, 1]) expectAscending(given.filter((_, call) => call % 2 === client));
    expectAscending(given.slice(together - 1));
    const ascending = [...given].sort((a, b) => a - b);
    expect(ascending).toEqual(given.map((_, index) => index * 3));
    expect(baseOffsets((await fetchFrom(kafka.client, topic, 0, { partition })).records)).toEqual(ascending);
    const found = stored.filter((record) => record.partition === partition);
    expect(found.map(({ offset }) => offset)).toEqual(found.map((_, index) => index));
    for (const [call, base] of given.entries()) {
      const read = found.slice(base, base + 3).map(({ value }) => String(value));
      expect(read).toEqual(values(call, partition));
    }
  }
});

function expectAscending(offsets: readonly number[]): void {
  expect(offsets).toEqual([...new Set(offsets)].sort((a, b) => a - b));
}

describe('what a fetch sends is lent by the journal', () => {
  const mebibyte = 1024 * 1024;

  async function filled(): Promise<{ topic: string; ask: Buffer }> {
    const topic = await newTopic();
    const value = 'x'.repeat(500_000);
    for (let count = 0; count < 16; count++) await produceTo(other, topic, batchOf([value]));
    const partitions = [{ partition: 0, fetchOffset: 0, partitionMaxBytes: 8 * mebibyte }];
    const topics = [{ topic, partitions }];
    return { topic, ask: requestBytes(fetch, 11, { maxWaitMs: 0, minBytes: 1, maxBytes: 1 << 30, topics }) };
  }

  /** A client that has asked twice for more than its socket takes, and does not read. */
  async function stalled(ask: Buffer): Promise<RawKafka> {
    const raw = await RawKafka.connect(kafka.kafka);
    raw.socket.pause();
    raw.send(Buffer.concat([ask, ask]));
    await waitUntil(() => kafka.kafka.counters.unsentBytes > 0);
    return raw;
  }

  it('it does not change before the socket has taken it, and is given back then', async () => {
    const { ask } = await filled();
    const raw = await stalled(ask);
    expect(kafka.storage.journal.openLeases).toBeGreaterThan(0);
    raw.socket.resume();
    for (let answers = 0; answers < 2; answers++) {
      const frame = await raw.answer();
      const { records } = decodeResponse(fetch, 11, frame!).responses[0]!.partitions[0]!;
      let batches = 0;
      for (let at = 0, end = nextBatch(records!, 0); end !== -1; at = end, end = nextBatch(records!, at)) {
        expect(records!.readUInt32BE(at + 17)).toBe(computeBatchCrc(records!, at, end));
        batches++;
      }
      expect(batches).toBe(16);
    }
    await waitUntil(() => kafka.storage.journal.openLeases === 0);
    raw.close();
  });

  it('it is given back when the connection ends before', async () => {
    const { ask } = await filled();
    const raw = await stalled(ask);
    expect(kafka.storage.journal.openLeases).toBeGreaterThan(0);
    raw.close();
    await waitUntil(() => kafka.storage.journal.openLeases === 0);
  });

  it('a long poll that finds too little gives it back before it waits', async () => {
    const topic = await newTopic();
    await produceTo(other, topic, batchOf(['x'.repeat(5000)]));
    const waiting = fetchFrom(kafka.client, topic, 0, { maxWaitMs: 10_000, minBytes: 8000 });
    // Twice, since the second look finds too little as well.
    await produceTo(other, topic, batchOf(['x']));
    expect(kafka.storage.journal.openLeases).toBe(0);
    await produceTo(other, topic, batchOf(['y'.repeat(5000)]));
    expect(baseOffsets((await waiting).records)).toEqual([0, 1, 2]);
    await waitUntil(() => kafka.storage.journal.openLeases === 0);
  });
});

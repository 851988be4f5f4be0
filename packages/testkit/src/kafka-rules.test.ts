import {
  alterConfigs,
  createPartitions,
  createTopics,
  deleteRecords,
  deleteTopics,
  describeConfigs,
  errorCodes,
  fetch,
  incrementalAlterConfigs,
  listOffsets,
  metadata,
  offsetForLeaderEpoch,
} from '@robustmq/kafka-codec';
import { codecs, compressBatch, loadZstd } from '@robustmq/record';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { batchOf, fetchFrom, produceTo, startKafka } from './kafka-fixture.ts';
import type { KafkaFixture } from './kafka-fixture.ts';
import { append, brokerBatch } from './kernel-fixture.ts';

let kafka: KafkaFixture;
let names = 0;

beforeAll(async () => {
  await loadZstd();
  kafka = await startKafka();
});

afterAll(async () => {
  expect(kafka.failures).toEqual([]);
  await kafka.stop();
});

async function newTopic(config: Record<string, string> = {}, partitions = 1): Promise<string> {
  const name = `r${names++}`;
  await kafka.kernel.topics.create(name, partitions, new Map(Object.entries(config)));
  return name;
}

async function offsetAt(topic: string, timestamp: number, version = 10) {
  const topics = [{ name: topic, partitions: [{ partitionIndex: 0, timestamp }] }];
  const answer = await kafka.client.send(listOffsets, version, { replicaId: -1, topics });
  const { errorCode, offset, timestamp: found, leaderEpoch } = answer.topics[0]!.partitions[0]!;
  return { errorCode, offset, timestamp: found, leaderEpoch };
}

async function deleteBelow(
  topic: string,
  offset: number,
): Promise<{ errorCode: number; lowWatermark: number }> {
  const topics = [{ name: topic, partitions: [{ partitionIndex: 0, offset }] }];
  const answer = await kafka.client.send(deleteRecords, 2, { topics, timeoutMs: 1000 });
  const { errorCode, lowWatermark } = answer.topics[0]!.partitions[0]!;
  return { errorCode, lowWatermark };
}

describe('ListOffsets', () => {
  it.each(Object.entries(codecs))(
    'kafka defect 5: finds the first record at or after a time, also inside a batch (%s)',
    async (_, codec) => {
      const topic = await newTopic();
      const send = (...timestamps: number[]) =>
        produceTo(
          kafka.client,
          topic,
          compressBatch(
            codec,
            batchOf(
              timestamps.map(() => 'x'),
              { timestamps },
            ),
          ),
        );
      await send(1000, 1500, 2000);
      await send(500, 600);
      await send(3000, 2500, 4000);
      const found = async (timestamp: number) => {
        const { offset, timestamp: at } = await offsetAt(topic, timestamp);
        return [offset, at];
      };
      expect(await found(0)).toEqual([0, 1000]);
      expect(await found(1001)).toEqual([1, 1500]);
      expect(await found(2000)).toEqual([2, 2000]);
      expect(await found(2001)).toEqual([5, 3000]);
      expect(await found(3001)).toEqual([7, 4000]);
      expect(await found(4001)).toEqual([-1, -1]);
    },
  );

  it('answers each special timestamp from the version that has it', async () => {
    const topic = await newTopic();
    await produceTo(kafka.client, topic, batchOf(['a', 'b', 'c'], { timestamps: [10, 30, 20] }));
    await deleteBelow(topic, 1);
    const { epoch } = await kafka.kernel.openShard(kafka.kernel.topics.byName(topic)!.shards[0]!);
    const none = { errorCode: 0, offset: -1, timestamp: -1, leaderEpoch: -1 };
    expect(await offsetAt(topic, -1)).toEqual({ ...none, offset: 3, leaderEpoch: epoch });
    expect(await offsetAt(topic, -2)).toEqual({ ...none, offset: 1, leaderEpoch: epoch });
    expect(await offsetAt(topic, -3)).toEqual({ ...none, offset: 1, timestamp: 30, leaderEpoch: epoch });
    expect(await offsetAt(topic, -4)).toEqual({ ...none, offset: 1, leaderEpoch: epoch });
    expect(await offsetAt(topic, -5)).toEqual(none);
    expect(await offsetAt(topic, 31)).toEqual(none);
    for (const [timestamp, version] of [
      [-3, 6],
      [-4, 7],
      [-5, 8],
    ] as const) {
      expect((await offsetAt(topic, timestamp, version)).errorCode).toBe(errorCodes.UNSUPPORTED_VERSION);
      expect((await offsetAt(topic, timestamp, version + 1)).errorCode).toBe(0);
    }
    expect(await offsetAt(await newTopic(), -3)).toEqual(none);
  });

  it('looks at no record that was deleted, and at all behind it in the same batch', async () => {
    const topic = await newTopic();
    await produceTo(kafka.client, topic, batchOf(['a', 'b', 'c'], { timestamps: [50, 40, 45] }));
    await produceTo(kafka.client, topic, batchOf(['d'], { timestamps: [60] }));
    await deleteBelow(topic, 1);
    expect(await offsetAt(topic, 0)).toMatchObject({ offset: 1, timestamp: 40 });
    expect(await offsetAt(topic, 41)).toMatchObject({ offset: 2, timestamp: 45 });
    expect(await offsetAt(topic, 46)).toMatchObject({ offset: 3, timestamp: 60 });
  });
});

describe('DeleteRecords', () => {
  it('moves the start of the log, at most to the high watermark, never back', async () => {
    const topic = await newTopic();
    await produceTo(kafka.client, topic, batchOf(['a', 'b', 'c', 'd']));
    expect(await deleteBelow(topic, 2)).toEqual({ errorCode: 0, lowWatermark: 2 });
    expect(await deleteBelow(topic, 1)).toEqual({ errorCode: 0, lowWatermark: 2 });
    for (const offset of [5, -2]) {
      expect(await deleteBelow(topic, offset)).toEqual({
        errorCode: errorCodes.OFFSET_OUT_OF_RANGE,
        lowWatermark: -1,
      });
    }
    expect((await fetchFrom(kafka.client, topic, 1)).errorCode).toBe(errorCodes.OFFSET_OUT_OF_RANGE);
    expect(await fetchFrom(kafka.client, topic, 2)).toMatchObject({ errorCode: 0, logStartOffset: 2 });
    expect(await deleteBelow(topic, -1)).toEqual({ errorCode: 0, lowWatermark: 4 });
    expect(await fetchFrom(kafka.client, topic, 4)).toMatchObject({
      errorCode: 0,
      logStartOffset: 4,
      highWatermark: 4,
    });
    expect((await produceTo(kafka.client, topic, batchOf(['e']))).baseOffset).toBe(4);
  });
});

describe('OffsetForLeaderEpoch', () => {
  it('tells where an epoch ends; of one whose records are gone, the start of the log: consumers were reset', async () => {
    const topic = await newTopic();
    await produceTo(kafka.client, topic, batchOf(['a', 'b']));
    const { epoch } = await kafka.kernel.openShard(kafka.kernel.topics.byName(topic)!.shards[0]!);
    const ask = async (leaderEpoch: number, currentLeaderEpoch = -1) => {
      const topics = [{ topic, partitions: [{ partition: 0, leaderEpoch, currentLeaderEpoch }] }];
      const answer = await kafka.client.send(offsetForLeaderEpoch, 4, { topics });
      const found = answer.topics[0]!.partitions[0]!;
      return [found.errorCode, found.leaderEpoch, found.endOffset];
    };
    expect(await ask(epoch)).toEqual([0, epoch, 2]);
    expect(await ask(epoch - 1)).toEqual([0, epoch - 1, 0]);
    expect(await ask(epoch + 1)).toEqual([0, -1, -1]);
    expect(await ask(-1)).toEqual([0, -1, -1]);
    expect(await ask(epoch, epoch - 1)).toEqual([errorCodes.FENCED_LEADER_EPOCH, -1, -1]);
    expect(await ask(epoch, epoch + 1)).toEqual([errorCodes.UNKNOWN_LEADER_EPOCH, -1, -1]);
  });
});

describe('Metadata', () => {
  it.each([0, 3, 4, 9, 13])(
    'kafka defect 2: v%i creates what is asked for, with 4 partitions',
    async (version) => {
      const name = `auto-${version}`;
      const { topics } = await kafka.client.send(metadata, version, { topics: [{ name }] });
      expect(topics).toMatchObject([{ errorCode: 0, name }]);
      expect(topics[0]!.partitions).toHaveLength(4);
      expect(
        topics[0]!.partitions.every(({ leaderId, isrNodes }) => leaderId === 1 && isrNodes.length === 1),
      ).toBe(true);
      expect(kafka.kernel.topics.isBound(kafka.kernel.topics.byName(name)!)).toBe(false);
    },
  );

  it.each([4, 9, 13])('v%i creates nothing that the client does not allow', async (version) => {
    const asked = { topics: [{ name: 'not-allowed' }], allowAutoTopicCreation: false };
    const { topics } = await kafka.client.send(metadata, version, asked);
    expect(topics).toMatchObject([{ errorCode: errorCodes.UNKNOWN_TOPIC_OR_PARTITION, name: 'not-allowed' }]);
    expect(kafka.kernel.topics.byName('not-allowed')).toBeUndefined();
  });

  it('refuses names that no topic can have, and those of the system', async () => {
    const names = ['', 'a b', 'ä', '..', 'x'.repeat(250), '__consumer_offsets'];
    const { topics } = await kafka.client.send(metadata, 9, { topics: names.map((name) => ({ name })) });
    const invalid = errorCodes.INVALID_TOPIC_EXCEPTION;
    const refused = [invalid, invalid, invalid, invalid, invalid, errorCodes.POLICY_VIOLATION];
    expect(topics.map(({ errorCode }) => errorCode)).toEqual(refused);
  });

  it('kafka defect 15: a topic that is made again has another id, and the old one is unknown', async () => {
    const name = await newTopic();
    await produceTo(kafka.client, name, batchOf(['old']));
    const idOf = async () =>
      (await kafka.client.send(metadata, 12, { topics: [{ name }] })).topics[0]!.topicId;
    const before = await idOf();
    await kafka.client.send(deleteTopics, 6, { topics: [{ name }], timeoutMs: 1000 });
    await kafka.kernel.topics.create(name, 1);
    const after = await idOf();
    expect(after).not.toBe(before);
    const byId = await kafka.client.send(metadata, 12, { topics: [{ name: null, topicId: before }] });
    expect(byId.topics[0]!.errorCode).toBe(errorCodes.UNKNOWN_TOPIC_ID);
    const partitions = [{ partition: 0, fetchOffset: 0, partitionMaxBytes: 1000 }];
    const old = { maxWaitMs: 0, minBytes: 1, maxBytes: 1000, topics: [{ topicId: before, partitions }] };
    const stale = await kafka.client.send(fetch, 13, old);
    expect(stale.responses[0]!.partitions[0]!.errorCode).toBe(errorCodes.UNKNOWN_TOPIC_ID);
    expect(await fetchFrom(kafka.client, name, 0)).toMatchObject({ errorCode: 0, highWatermark: 0 });
    expect((await produceTo(kafka.client, name, batchOf(['new']))).baseOffset).toBe(0);
  });
});

describe('CreatePartitions', () => {
  const grow = async (counts: readonly [string, number][], validateOnly = false) => {
    const topics = counts.map(([name, count]) => ({ name, count, assignments: null }));
    const answer = await kafka.client.send(createPartitions, 3, { topics, timeoutMs: 1000, validateOnly });
    return answer.results.map(({ errorCode }) => errorCode);
  };
  const shards = (name: string) => kafka.kernel.topics.byName(name)!.shards.length;

  it('refuses what cannot grow: bound topics, the default topic, fewer, the same, too many, one twice', async () => {
    const bound = await newTopic({ 'subject.bind': 'true' });
    const plain = await newTopic({}, 3);
    const refused = errorCodes.INVALID_PARTITIONS;
    expect(
      await grow([
        [bound, 2],
        ['mqtt', 100],
        [plain, 3],
      ]),
    ).toEqual([refused, refused, refused]);
    expect(await grow([[plain, 2]])).toEqual([refused]);
    expect(await grow([[plain, 0]])).toEqual([refused]);
    expect(await grow([[plain, 10_001]])).toEqual([refused]);
    expect(
      await grow([
        [plain, 4],
        [plain, 5],
      ]),
    ).toEqual([errorCodes.INVALID_REQUEST]);
    expect([shards(bound), shards(plain)]).toEqual([1, 3]);
  });

  it('tells what it would do, and does it; the new ones can be written and read', async () => {
    const topic = await newTopic();
    expect(await grow([[topic, 3]], true)).toEqual([0]);
    expect(shards(topic)).toBe(1);
    expect(await grow([[topic, 3]])).toEqual([0]);
    expect(await produceTo(kafka.client, topic, batchOf(['x']), { partition: 2 })).toEqual({
      errorCode: 0,
      baseOffset: 0,
    });
    expect((await fetchFrom(kafka.client, topic, 0, { partition: 2 })).highWatermark).toBe(1);
  });
});

describe('CreateTopics', () => {
  const create = async (topic: object) => {
    const whole = {
      name: `c${names++}`,
      numPartitions: 1,
      replicationFactor: 1,
      assignments: [],
      configs: [],
      ...topic,
    };
    const answer = await kafka.client.send(createTopics, 7, { topics: [whole], timeoutMs: 1000 });
    return answer.topics[0]!;
  };

  it('refuses numbers that no topic has, and compaction', async () => {
    const config = (name: string, value: string) => ({ configs: [{ name, value }] });
    expect(await create({ numPartitions: 0 })).toMatchObject({ errorCode: errorCodes.INVALID_PARTITIONS });
    expect(await create({ numPartitions: -2 })).toMatchObject({ errorCode: errorCodes.INVALID_PARTITIONS });
    expect(await create({ numPartitions: 10_001 })).toMatchObject({
      errorCode: errorCodes.INVALID_PARTITIONS,
    });
    expect(await create({ replicationFactor: 0 })).toMatchObject({
      errorCode: errorCodes.INVALID_REPLICATION_FACTOR,
    });
    for (const value of ['compact', 'compact,delete', 'delete, compact']) {
      expect(await create(config('cleanup.policy', value))).toMatchObject({
        errorCode: errorCodes.INVALID_CONFIG,
      });
    }
    expect(await create(config('retention.ms', 'soon'))).toMatchObject({
      errorCode: errorCodes.INVALID_CONFIG,
    });
    expect(await create(config('max.message.bytes', '1900001'))).toMatchObject({
      errorCode: errorCodes.INVALID_CONFIG,
    });
    expect(await create({ name: '__mine' })).toMatchObject({ errorCode: errorCodes.POLICY_VIOLATION });
  });

  it('takes the defaults of the server for -1, and counts an assignment', async () => {
    expect(await create({ numPartitions: -1, replicationFactor: -1 })).toMatchObject({
      errorCode: 0,
      numPartitions: 4,
    });
    const assignments = [0, 1].map((partitionIndex) => ({ partitionIndex, brokerIds: [1] }));
    const given = { numPartitions: -1, replicationFactor: -1, assignments };
    expect(await create(given)).toMatchObject({ errorCode: 0, numPartitions: 2 });
    expect(await create({ assignments })).toMatchObject({ errorCode: errorCodes.INVALID_REQUEST });
  });

  it.each([
    ['a replica at a broker that there is not', [{ partitionIndex: 0, brokerIds: [1, 2] }]],
    ['another broker', [{ partitionIndex: 0, brokerIds: [2] }]],
    ['no replica', [{ partitionIndex: 0, brokerIds: [] }]],
    ['a gap', [0, 2].map((partitionIndex) => ({ partitionIndex, brokerIds: [1] }))],
    ['a partition twice', [0, 0].map((partitionIndex) => ({ partitionIndex, brokerIds: [1] }))],
  ])('refuses an assignment with %s: it was taken and not followed', async (_what, assignments) => {
    const given = { numPartitions: -1, replicationFactor: -1, assignments };
    expect(await create(given)).toMatchObject({ errorCode: errorCodes.INVALID_REPLICA_ASSIGNMENT });
  });

  it('creates neither of two topics of one name', async () => {
    const one = { name: 'two', numPartitions: 1, replicationFactor: 1, assignments: [], configs: [] };
    const answer = await kafka.client.send(createTopics, 7, { topics: [one, one], timeoutMs: 1000 });
    expect(answer.topics).toMatchObject([{ name: 'two', errorCode: errorCodes.INVALID_REQUEST }]);
    expect(kafka.kernel.topics.byName('two')).toBeUndefined();
  });

  it('takes 20,000 names in one request: it looked for each among all', async () => {
    const topics = Array.from({ length: 20_000 }, (_, index) => ({
      name: `bad name ${index}`,
      numPartitions: 1,
      replicationFactor: 1,
      assignments: [],
      configs: [],
    }));
    const from = performance.now();
    const answer = await kafka.client.send(createTopics, 7, { topics, timeoutMs: 1000 });
    expect(new Set(answer.topics.map(({ errorCode }) => errorCode))).toEqual(
      new Set([errorCodes.INVALID_TOPIC_EXCEPTION]),
    );
    expect(performance.now() - from).toBeLessThan(10_000);
  });
});

describe('configuration', () => {
  it('kafka defect 8: DescribeConfigs shows every key with its source, type and default', async () => {
    const topic = await newTopic({ 'retention.ms': '5000', 'message.timestamp.type': 'LogAppendTime' });
    const resources = [{ resourceType: 2, resourceName: topic, configurationKeys: null }];
    const answer = await kafka.client.send(describeConfigs, 4, { resources, includeSynonyms: true });
    const { configs } = answer.results[0]!;
    const shown = (name: string) => configs.find((config) => config.name === name);
    expect(shown('retention.ms')).toMatchObject({
      value: '5000',
      configSource: 1,
      configType: 5,
      readOnly: false,
    });
    expect(shown('retention.ms')!.synonyms).toMatchObject([
      { value: '5000', source: 1 },
      { value: '604800000', source: 5 },
    ]);
    expect(shown('message.timestamp.type')).toMatchObject({
      value: 'LogAppendTime',
      configSource: 1,
      configType: 2,
    });
    expect(shown('max.message.bytes')).toMatchObject({ value: '1048588', configSource: 5, configType: 3 });
    expect(shown('cleanup.policy')).toMatchObject({ value: 'delete', configSource: 5, configType: 7 });
    expect(configs.every(({ isSensitive }) => !isSensitive)).toBe(true);
    const empty = [{ resourceType: 2, resourceName: topic, configurationKeys: [] }];
    const all = await kafka.client.send(describeConfigs, 4, { resources: empty });
    expect(all.results[0]!.configs).toHaveLength(configs.length);
    const odd = [2, 4, 8, 16].map((resourceType) => ({
      resourceType,
      resourceName: '77',
      configurationKeys: null,
    }));
    const refused = await kafka.client.send(describeConfigs, 4, { resources: odd });
    expect(refused.results.map(({ errorCode }) => errorCode)).toEqual([
      errorCodes.UNKNOWN_TOPIC_OR_PARTITION,
      errorCodes.INVALID_REQUEST,
      errorCodes.INVALID_REQUEST,
      errorCodes.INVALID_REQUEST,
    ]);
  });

  it('what is accepted is enforced at once, what is not is refused whole, and only brokers are not changed', async () => {
    const topic = await newTopic();
    const change = async (
      resourceType: number,
      resourceName: string,
      ...set: [string, number, string | null][]
    ) => {
      const configs = set.map(([name, configOperation, value]) => ({ name, configOperation, value }));
      const resources = [{ resourceType, resourceName, configs }];
      const answer = await kafka.client.send(incrementalAlterConfigs, 1, { resources, validateOnly: false });
      return answer.responses[0]!.errorCode;
    };
    await produceTo(kafka.client, topic, batchOf(['x']));
    expect(await change(2, topic, ['max.message.bytes', 0, '1024'])).toBe(0);
    expect((await produceTo(kafka.client, topic, batchOf(['x'.repeat(1024)]))).errorCode).toBe(
      errorCodes.MESSAGE_TOO_LARGE,
    );
    const both = await change(2, topic, ['max.message.bytes', 0, '5000'], ['nonsense', 0, '1']);
    expect(both).toBe(errorCodes.INVALID_CONFIG);
    expect(kafka.kernel.topics.byName(topic)!.config.get('max.message.bytes')).toBe('1024');
    expect(await change(2, topic, ['retention.ms', 0, '1'], ['retention.ms', 0, '2'])).toBe(
      errorCodes.INVALID_REQUEST,
    );
    expect(await change(2, topic, ['retention.ms', 9, '1'])).toBe(errorCodes.INVALID_REQUEST);
    expect(await change(2, topic, ['retention.ms', 0, null])).toBe(errorCodes.INVALID_CONFIG);
    expect(await change(2, 'absent', ['retention.ms', 0, '1'])).toBe(errorCodes.UNKNOWN_TOPIC_OR_PARTITION);
    expect(await change(4, '1', ['log.retention.ms', 0, '1'])).toBe(errorCodes.INVALID_REQUEST);
    expect(await change(2, topic, ['subject.bind', 0, 'true'])).not.toBe(0);
  });

  it('AlterConfigs resets what it does not name, refuses compaction, and only tells with validateOnly', async () => {
    const topic = await newTopic({ 'retention.ms': '5000' });
    const replace = async (name: string, value: string, validateOnly: boolean) => {
      const resources = [{ resourceType: 2, resourceName: topic, configs: [{ name, value }] }];
      return (await kafka.client.send(alterConfigs, 2, { resources, validateOnly })).responses[0]!.errorCode;
    };
    const config = () => [...kafka.kernel.topics.byName(topic)!.config];
    expect(await replace('segment.ms', '2000', true)).toBe(0);
    expect(await replace('cleanup.policy', 'compact', true)).toBe(errorCodes.INVALID_CONFIG);
    expect(await replace('cleanup.policy', 'compact', false)).toBe(errorCodes.INVALID_CONFIG);
    expect(config()).toEqual([['retention.ms', '5000']]);
    expect(await replace('segment.ms', '2000', false)).toBe(0);
    expect(config()).toEqual([['segment.ms', '2000']]);
    // Whether a dry run and the change agree: fixed keys of a topic with records were only refused by the latter.
    const { shards } = kafka.kernel.topics.byName(topic)!;
    await append(await kafka.kernel.openShard(shards[0]!), brokerBatch(['record']));
    for (const [name, value] of [
      ['subject.bind', 'true'],
      ['storage', 'memory'],
    ] as const) {
      expect(await replace(name, value, true)).toBe(errorCodes.INVALID_CONFIG);
      expect(await replace(name, value, false)).toBe(errorCodes.INVALID_CONFIG);
    }
  });
});

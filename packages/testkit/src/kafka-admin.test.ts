import { silentLogger, systemClock, systemRandom } from '@robustmq/core';
import { createKafkaAdapter } from '@robustmq/kafka';
import type { KafkaAdapter } from '@robustmq/kafka';
import {
  alterConfigs,
  createPartitions,
  createTopics,
  deleteRecords,
  deleteTopics,
  describeCluster,
  describeConfigs,
  describeLogDirs,
  errorCodes,
  incrementalAlterConfigs,
  metadata,
  offsetForLeaderEpoch,
} from '@robustmq/kafka-codec';
import type { Kernel } from '@robustmq/kernel';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { KafkaClient } from './kafka-client.ts';
import { createMemoryStorage, startKernel } from './memory-kernel.ts';

let kernel: Kernel;
let kafka: KafkaAdapter;
let client: KafkaClient;

beforeAll(async () => {
  kernel = await startKernel(await createMemoryStorage());
  kafka = createKafkaAdapter(
    { hosts: ['127.0.0.1'], port: 0, nodeId: 1 },
    { kernel, clock: systemClock, random: systemRandom, logger: silentLogger },
  );
  await kafka.start();
  client = await KafkaClient.connect(kafka.address());
});

afterAll(async () => {
  client.close();
  await kafka.stop();
  await kernel.stop();
});

const versions = (from: number, to: number): number[] =>
  Array.from({ length: to - from + 1 }, (_, index) => from + index);

const asked = { numPartitions: 3, replicationFactor: 1, assignments: [] };

describe('every version of', () => {
  it.each(versions(2, 7))('CreateTopics v%i', async (version) => {
    const configs = [{ name: 'retention.ms', value: '1000' }];
    const name = `made-${version}`;
    const topics = [
      { ...asked, name, configs },
      { ...asked, name: 'mqtt', configs },
      { ...asked, name: 'x', configs: [{ name: 'nonsense', value: '1' }] },
      { ...asked, name: 'a b', configs: [] },
      { ...asked, name: 'three', replicationFactor: 3, configs: [] },
    ];
    const dry = await client.send(createTopics, version, { topics, validateOnly: true });
    expect(dry.topics[0]?.errorCode).toBe(0);
    expect(kernel.topics.byName(name)).toBeUndefined();
    const answer = await client.send(createTopics, version, { topics });
    expect(answer.topics.map((topic) => topic.errorCode)).toEqual([
      0,
      errorCodes.TOPIC_ALREADY_EXISTS,
      errorCodes.INVALID_CONFIG,
      errorCodes.INVALID_TOPIC_EXCEPTION,
      errorCodes.INVALID_REPLICATION_FACTOR,
    ]);
    const made = kernel.topics.byName(name)!;
    expect([made.shards.length, made.config.get('retention.ms')]).toEqual([3, '1000']);
    if (version >= 7) expect(answer.topics[0]?.topicId).toBe(made.id);
  });

  it.each(versions(1, 6))(
    'semantics 1.6: DeleteTopics v%i deletes all but the default topic',
    async (version) => {
      const name = `gone-${version}`;
      await kernel.topics.create(name, 1);
      const names = [name, 'mqtt', 'absent'];
      const body = version >= 6 ? { topics: names.map((each) => ({ name: each })) } : { topicNames: names };
      const answer = await client.send(deleteTopics, version, { ...body, timeoutMs: 1000 });
      expect(answer.responses.map((response) => response.errorCode)).toEqual([
        0,
        errorCodes.POLICY_VIOLATION,
        errorCodes.UNKNOWN_TOPIC_OR_PARTITION,
      ]);
      expect(kernel.topics.byName(name)).toBeUndefined();
    },
  );

  it('DeleteTopics v6 by id', async () => {
    const { id } = await kernel.topics.create('by-id', 1);
    const send = () =>
      client.send(deleteTopics, 6, { topics: [{ name: null, topicId: id }], timeoutMs: 1000 });
    expect((await send()).responses).toMatchObject([{ name: 'by-id', errorCode: 0 }]);
    expect((await send()).responses).toMatchObject([{ name: null, errorCode: errorCodes.UNKNOWN_TOPIC_ID }]);
  });

  it.each(versions(0, 3))(
    'kafka defect 6: CreatePartitions v%i has one result per topic',
    async (version) => {
      const name = `grown-${version}`;
      await kernel.topics.create(name, 2);
      const topic = (each: string, count: number) => ({ name: each, count, assignments: null });
      const answer = await client.send(createPartitions, version, {
        topics: [topic(name, 5), topic('mqtt', 50), topic('absent', 2)],
        timeoutMs: 1000,
        validateOnly: false,
      });
      expect(answer.results).toMatchObject([
        { name, errorCode: 0 },
        { name: 'mqtt', errorCode: errorCodes.INVALID_PARTITIONS },
        { name: 'absent', errorCode: errorCodes.UNKNOWN_TOPIC_OR_PARTITION },
      ]);
      const shown = await client.send(metadata, 9, { topics: [{ name }] });
      expect(shown.topics[0]?.partitions).toHaveLength(5);
    },
  );

  it.each(versions(0, 2))('DeleteRecords v%i', async (version) => {
    await kernel.topics.ensure('trimmed');
    const answer = await client.send(deleteRecords, version, {
      topics: [
        {
          name: 'trimmed',
          partitions: [
            { partitionIndex: 0, offset: -1 },
            { partitionIndex: 1, offset: 9 },
          ],
        },
      ],
      timeoutMs: 1000,
    });
    expect(answer.topics[0]?.partitions).toMatchObject([
      { lowWatermark: 0, errorCode: 0 },
      { lowWatermark: -1, errorCode: errorCodes.OFFSET_OUT_OF_RANGE },
    ]);
  });

  it.each(versions(0, 2))('DescribeCluster v%i', async (version) => {
    const answer = await client.send(describeCluster, version, { includeClusterAuthorizedOperations: false });
    const { host, port } = kafka.address();
    expect(answer).toMatchObject({ errorCode: 0, clusterId: 'test', brokers: [{ brokerId: 1, host, port }] });
  });

  it.each(versions(0, 5))('kafka defect 21: DescribeLogDirs v%i is there', async (version) => {
    const answer = await client.send(describeLogDirs, version, { topics: null });
    expect(answer.results).toMatchObject([{ errorCode: 0 }]);
    expect(answer.results[0]?.topics.map((topic) => topic.name)).toContain('mqtt');
  });

  it.each(versions(2, 4))('OffsetForLeaderEpoch v%i', async (version) => {
    const topic = await kernel.topics.ensure('epochs');
    const { epoch } = await kernel.openShard(topic.shards[0]!);
    const partitions = [
      { partition: 0, leaderEpoch: epoch },
      { partition: 0, leaderEpoch: epoch + 1 },
      { partition: 99, leaderEpoch: epoch },
    ];
    const answer = await client.send(offsetForLeaderEpoch, version, {
      topics: [{ topic: 'epochs', partitions }],
    });
    expect(answer.topics[0]?.partitions).toMatchObject([
      { errorCode: 0, leaderEpoch: epoch, endOffset: 0 },
      { errorCode: 0, leaderEpoch: -1, endOffset: -1 },
      { errorCode: errorCodes.UNKNOWN_TOPIC_OR_PARTITION },
    ]);
  });

  it.each(versions(0, 4))(
    'kafka defect 8, 21: DescribeConfigs v%i tells source and synonyms',
    async (version) => {
      const name = `described-${version}`;
      await kernel.topics.create(name, 1, new Map([['retention.ms', '5000']]));
      const resource = (resourceType: number, resourceName: string, configurationKeys: string[] | null) => ({
        resourceType,
        resourceName,
        configurationKeys,
      });
      const answer = await client.send(describeConfigs, version, {
        resources: [resource(2, name, ['retention.ms']), resource(4, '1', null), resource(2, 'absent', null)],
        ...(version >= 1 ? { includeSynonyms: true } : {}),
      });
      const [topic, broker, absent] = answer.results;
      expect(topic?.configs).toHaveLength(1);
      expect(topic?.configs[0]).toMatchObject({ name: 'retention.ms', value: '5000', isSensitive: false });
      if (version >= 1) {
        expect(topic?.configs[0]?.configSource).toBe(1);
        expect(topic?.configs[0]?.synonyms.map((synonym) => synonym.value)).toEqual(['5000', '604800000']);
      }
      expect(broker?.configs.map((config) => config.name)).toContain('num.partitions');
      expect(absent?.errorCode).toBe(errorCodes.UNKNOWN_TOPIC_OR_PARTITION);
    },
  );

  it.each(versions(0, 1))(
    'kafka defect 3: IncrementalAlterConfigs v%i knows list operations',
    async (version) => {
      const name = `altered-${version}`;
      await kernel.topics.create(name, 1);
      const send = async (
        key: string,
        configOperation: number,
        value: string | null,
        validateOnly = false,
      ) => {
        const configs = [{ name: key, configOperation, value }];
        const resources = [{ resourceType: 2, resourceName: name, configs }];
        const answer = await client.send(incrementalAlterConfigs, version, { resources, validateOnly });
        return answer.responses[0]?.errorCode;
      };
      const config = (key: string) => kernel.topics.byName(name)?.config.get(key);
      expect(await send('retention.ms', 0, '9000', true)).toBe(0);
      expect(config('retention.ms')).toBeUndefined();
      expect(await send('retention.ms', 0, '9000')).toBe(0);
      expect(config('retention.ms')).toBe('9000');
      expect(await send('retention.ms', 1, null)).toBe(0);
      expect(config('retention.ms')).toBeUndefined();
      expect(await send('retention.ms', 2, '1')).toBe(errorCodes.INVALID_CONFIG);
      expect(await send('nonsense', 0, '1')).toBe(errorCodes.INVALID_CONFIG);
      expect(await send('cleanup.policy', 2, 'delete')).toBe(0);
      expect(config('cleanup.policy')).toBe('delete');
      expect(await send('cleanup.policy', 2, 'compact')).toBe(errorCodes.INVALID_CONFIG);
      expect(await send('cleanup.policy', 2, 'compact', true)).toBe(errorCodes.INVALID_CONFIG);
    },
  );

  it.each(versions(0, 1))(
    'kafka defect 3: IncrementalAlterConfigs v%i appends to a list and subtracts from it, and from nothing else',
    async (version) => {
      const name = `lists-${version}`;
      await kernel.topics.create(name, 1, new Map([['retention.ms', '5000']]));
      const send = async (key: string, configOperation: number, value: string) => {
        const configs = [{ name: key, configOperation, value }];
        const resources = [{ resourceType: 2, resourceName: name, configs }];
        const answer = await client.send(incrementalAlterConfigs, version, {
          resources,
          validateOnly: false,
        });
        return answer.responses[0]!;
      };
      const append = (value: string, key = 'cleanup.policy') => send(key, 2, value);
      const subtract = (value: string, key = 'cleanup.policy') => send(key, 3, value);
      const described = async (key = 'cleanup.policy') => {
        const resources = [{ resourceType: 2, resourceName: name, configurationKeys: [key] }];
        const answer = await client.send(describeConfigs, 4, { resources });
        return answer.results[0]!.configs[0]!.value;
      };
      const refused = { errorCode: errorCodes.INVALID_CONFIG };
      // What is there stays and is there once, and what comes behind it is checked with it.
      expect(await append('delete, delete')).toMatchObject({ errorCode: 0 });
      expect(await described()).toBe('delete');
      const message = expect.stringContaining('=delete,sharp ');
      expect(await append('sharp')).toMatchObject({ ...refused, errorMessage: message });
      // What is not in a list is not missed by it.
      expect(await subtract('compact')).toMatchObject({ errorCode: 0 });
      expect(await described()).toBe('delete');
      // One that takes it leaves an empty list, which is no policy.
      expect(await subtract('delete')).toMatchObject({
        ...refused,
        errorMessage: expect.stringContaining('cleanup.policy= '),
      });
      expect(await subtract('compact,delete')).toMatchObject(refused);
      expect(await described()).toBe('delete');
      for (const operation of [append, subtract]) {
        expect(await operation('1', 'retention.ms')).toMatchObject(refused);
        expect(await operation('5000', 'retention.ms')).toMatchObject(refused);
        expect(await operation('CreateTime', 'message.timestamp.type')).toMatchObject(refused);
      }
      expect(await described('retention.ms')).toBe('5000');
    },
  );

  it.each(versions(0, 2))('AlterConfigs v%i', async (version) => {
    const name = `replaced-${version}`;
    await kernel.topics.create(name, 1, new Map([['retention.ms', '5000']]));
    const configs = [{ name: 'segment.ms', value: '2000' }];
    const resources = [{ resourceType: 2, resourceName: name, configs }];
    const answer = await client.send(alterConfigs, version, { resources, validateOnly: false });
    expect(answer.responses).toMatchObject([{ errorCode: 0 }]);
    expect([...kernel.topics.byName(name)!.config]).toEqual([['segment.ms', '2000']]);
  });
});

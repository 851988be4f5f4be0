import {
  advertised,
  alterConfigs,
  apiVersions,
  createPartitions,
  createTopics,
  deleteGroups,
  deleteRecords,
  deleteTopics,
  describeCluster,
  describeConfigs,
  describeGroups,
  describeLogDirs,
  fetch,
  findCoordinator,
  heartbeat,
  incrementalAlterConfigs,
  initProducerId,
  joinGroup,
  leaveGroup,
  listGroups,
  listOffsets,
  metadata,
  offsetCommit,
  offsetDelete,
  offsetFetch,
  offsetForLeaderEpoch,
  produce,
  syncGroup,
} from '@robustmq/kafka-codec';
import type { Api } from '@robustmq/kafka-codec';
import { batchOf, requestBytes } from './kafka-fixture.ts';

/** A valid request, its length in front. */
export interface SampleRequest {
  readonly name: string;
  readonly api: Api;
  readonly version: number;
  readonly bytes: Buffer;
}

/**
 * A valid request of every API in its oldest, newest and (where there is one) first flexible version, on `topic` with
 * `topicId`. None of them waits long for its answer.
 */
export function sampleRequests(topic: string, topicId: string): SampleRequest[] {
  const samples: SampleRequest[] = [];
  for (const { api, body } of requests(topic, topicId)) {
    const { serveMin, max } = advertised.find(({ apiKey }) => apiKey === api.key)!;
    const versions = new Set([serveMin, max, Math.min(Math.max(api.flexible, serveMin), max)]);
    for (const version of versions) {
      const bytes = requestBytes(api, version, body(version) as never);
      samples.push({ name: `${api.name} v${version}`, api, version, bytes });
    }
  }
  return samples;
}

/** A valid body of a request of the API named so, by version; throws for a name that is not advertised. */
export function sampleOf(name: string, topic: string, topicId: string): Sample {
  const sample = requests(topic, topicId).find(({ api }) => api.name === name);
  if (sample === undefined) throw new Error(`there is no sample of ${name}`);
  return sample;
}

export interface Sample {
  readonly api: Api;
  body(version: number): object;
}

function requests(topic: string, topicId: string): Sample[] {
  return [...dataRequests(topic, topicId), ...groupRequests(topic, topicId), ...adminRequests(topic)];
}

function dataRequests(topic: string, topicId: string): Sample[] {
  const partition = { partition: 0, fetchOffset: 0, partitionMaxBytes: 1000 };
  const records = batchOf(['sample']);
  return [
    {
      api: produce,
      body: (version) => {
        const named = version >= 13 ? { topicId } : { name: topic };
        const partitionData = [{ index: 0, records }];
        return { acks: -1, timeoutMs: 30_000, topicData: [{ ...named, partitionData }] };
      },
    },
    {
      api: fetch,
      body: (version) => {
        const named = version >= 13 ? { topicId } : { topic };
        return { maxWaitMs: 1, minBytes: 1, maxBytes: 1000, topics: [{ ...named, partitions: [partition] }] };
      },
    },
    {
      api: listOffsets,
      body: () => ({
        replicaId: -1,
        topics: [{ name: topic, partitions: [{ partitionIndex: 0, timestamp: -1 }] }],
      }),
    },
    {
      api: offsetForLeaderEpoch,
      body: () => ({ topics: [{ topic, partitions: [{ partition: 0, leaderEpoch: 1 }] }] }),
    },
    { api: initProducerId, body: () => ({ transactionalId: null, transactionTimeoutMs: 1000 }) },
    {
      api: deleteRecords,
      body: () => ({
        topics: [{ name: topic, partitions: [{ partitionIndex: 0, offset: 0 }] }],
        timeoutMs: 1000,
      }),
    },
  ];
}

function groupRequests(topic: string, topicId: string): Sample[] {
  const groupId = 'sample';
  const memberId = 'nobody';
  return [
    {
      api: findCoordinator,
      body: (version) => (version >= 4 ? { coordinatorKeys: [groupId] } : { key: groupId }),
    },
    {
      api: joinGroup,
      body: () => ({
        groupId,
        memberId,
        sessionTimeoutMs: 10_000,
        protocolType: 'consumer',
        protocols: [{ name: 'range', metadata: Buffer.from('subscription') }],
      }),
    },
    {
      api: syncGroup,
      body: () => ({
        groupId,
        memberId,
        generationId: 1,
        assignments: [{ memberId, assignment: Buffer.from('all') }],
      }),
    },
    { api: heartbeat, body: () => ({ groupId, memberId, generationId: 1 }) },
    {
      api: leaveGroup,
      body: (version) =>
        version >= 3 ? { groupId, members: [{ memberId, groupInstanceId: null }] } : { groupId, memberId },
    },
    {
      api: offsetCommit,
      body: (version) => {
        const named = version >= 10 ? { topicId } : { name: topic };
        const partitions = [{ partitionIndex: 0, committedOffset: 1, committedMetadata: 'text' }];
        return { groupId, topics: [{ ...named, partitions }] };
      },
    },
    {
      api: offsetFetch,
      body: (version) => {
        const named = version >= 10 ? { topicId } : { name: topic };
        const topics = [{ ...named, partitionIndexes: [0] }];
        if (version >= 8) return { groups: [{ groupId, topics }] };
        return { groupId, topics: [{ name: topic, partitionIndexes: [0] }] };
      },
    },
    {
      api: offsetDelete,
      body: () => ({ groupId, topics: [{ name: topic, partitions: [{ partitionIndex: 1 }] }] }),
    },
    { api: listGroups, body: (version) => (version >= 4 ? { statesFilter: ['Stable'] } : {}) },
    { api: describeGroups, body: () => ({ groups: [groupId] }) },
    { api: deleteGroups, body: () => ({ groupsNames: ['none'] }) },
  ];
}

function adminRequests(topic: string): Sample[] {
  const configs = [{ name: 'retention.ms', value: '100000' }];
  const resource = { resourceType: 2, resourceName: topic };
  return [
    { api: apiVersions, body: () => ({}) },
    {
      api: metadata,
      body: (version) => ({
        topics: [{ name: topic }],
        ...(version >= 4 ? { allowAutoTopicCreation: false } : {}),
      }),
    },
    {
      api: createTopics,
      body: () => ({
        topics: [{ name: topic, numPartitions: 1, replicationFactor: 1, assignments: [], configs }],
        timeoutMs: 1000,
      }),
    },
    {
      api: deleteTopics,
      body: (version) =>
        version >= 6
          ? { topics: [{ name: 'none' }], timeoutMs: 1000 }
          : { topicNames: ['none'], timeoutMs: 1000 },
    },
    {
      api: createPartitions,
      body: () => ({
        topics: [{ name: topic, count: 1, assignments: null }],
        timeoutMs: 1000,
        validateOnly: true,
      }),
    },
    { api: describeCluster, body: () => ({ includeClusterAuthorizedOperations: false }) },
    { api: describeLogDirs, body: () => ({ topics: [{ topic, partitions: [0] }] }) },
    { api: describeConfigs, body: () => ({ resources: [{ ...resource, configurationKeys: null }] }) },
    { api: alterConfigs, body: () => ({ resources: [{ ...resource, configs }], validateOnly: true }) },
    {
      api: incrementalAlterConfigs,
      body: () => ({
        resources: [{ ...resource, configs: [{ ...configs[0], configOperation: 0 }] }],
        validateOnly: true,
      }),
    },
  ];
}

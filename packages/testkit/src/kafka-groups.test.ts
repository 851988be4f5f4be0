import { setTimeout as delay } from 'node:timers/promises';
import { silentLogger, systemClock, systemRandom } from '@robustmq/core';
import { createKafkaAdapter } from '@robustmq/kafka';
import type { KafkaAdapter } from '@robustmq/kafka';
import {
  deleteGroups,
  describeGroups,
  errorCodes,
  heartbeat,
  joinGroup,
  leaveGroup,
  listGroups,
  offsetCommit,
  offsetDelete,
  offsetFetch,
  syncGroup,
} from '@robustmq/kafka-codec';
import type { ResponseOf } from '@robustmq/kafka-codec';
import type { Kernel } from '@robustmq/kernel';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { KafkaClient } from './kafka-client.ts';
import { createMemoryStorage, startKernel } from './memory-kernel.ts';
import type { MemoryStorage } from './memory-kernel.ts';

let storage: MemoryStorage;
let kernel: Kernel;
let kafka: KafkaAdapter;
let client: KafkaClient;
let topicId: string;

async function start(): Promise<void> {
  kernel = await startKernel(storage);
  kafka = createKafkaAdapter(
    { hosts: ['127.0.0.1'], port: 0, nodeId: 1, groups: { initialDelayMs: 0 } },
    { kernel, clock: systemClock, random: systemRandom, logger: silentLogger },
  );
  await kafka.start();
  client = await KafkaClient.connect(kafka.address());
}

async function stop(): Promise<void> {
  client.close();
  await kafka.stop();
  await kernel.stop();
}

/** Nothing that is under way comes to its end; another broker starts on what is stored. */
async function die(): Promise<void> {
  storage.journal.crash();
  client.close();
  // It waits for what a dead journal will not say.
  void kafka.stop();
  await start();
}

beforeAll(async () => {
  storage = await createMemoryStorage();
  await start();
  topicId = (await kernel.topics.create('t', 2)).id;
});

afterAll(stop);

const versions = (from: number, to: number): number[] =>
  Array.from({ length: to - from + 1 }, (_, index) => from + index);

const protocols = [{ name: 'range', metadata: Buffer.from('subscription') }];
const common = { sessionTimeoutMs: 10_000, protocolType: 'consumer', protocols };

async function join(groupId: string, version: number, extra = {}): Promise<ResponseOf<typeof joinGroup>> {
  const first = await client.send(joinGroup, version, { ...common, groupId, memberId: '', ...extra });
  if (first.errorCode !== errorCodes.MEMBER_ID_REQUIRED) return first;
  return client.send(joinGroup, version, { ...common, groupId, memberId: first.memberId, ...extra });
}

async function joinAndSync(groupId: string): Promise<{ memberId: string; generationId: number }> {
  const { memberId, generationId } = await join(groupId, 9);
  const assignments = [{ memberId, assignment: Buffer.from('mine') }];
  await client.send(syncGroup, 5, { groupId, memberId, generationId, assignments });
  return { memberId, generationId };
}

describe('every version of', () => {
  it.each(versions(0, 9))('JoinGroup v%i', async (version) => {
    const answer = await join(`join-${version}`, version);
    expect(answer).toMatchObject({ errorCode: 0, generationId: 1, protocolName: 'range' });
    expect(answer.leader).toBe(answer.memberId);
    expect(answer.members).toMatchObject([
      { memberId: answer.memberId, metadata: Buffer.from('subscription') },
    ]);
  });

  it.each(versions(0, 5))('SyncGroup v%i', async (version) => {
    const groupId = `sync-${version}`;
    const { memberId, generationId } = await join(groupId, 9);
    const assignments = [{ memberId, assignment: Buffer.from('mine') }];
    const answer = await client.send(syncGroup, version, { groupId, memberId, generationId, assignments });
    expect(answer).toMatchObject({ errorCode: 0, assignment: Buffer.from('mine') });
  });

  it.each(versions(0, 4))('Heartbeat v%i', async (version) => {
    const groupId = `beat-${version}`;
    const member = await joinAndSync(groupId);
    expect(await client.send(heartbeat, version, { groupId, ...member })).toMatchObject({ errorCode: 0 });
    const stale = await client.send(heartbeat, version, { groupId, ...member, generationId: 9 });
    expect(stale.errorCode).toBe(errorCodes.ILLEGAL_GENERATION);
    const stranger = await client.send(heartbeat, version, { groupId, ...member, memberId: 'x' });
    expect(stranger.errorCode).toBe(errorCodes.UNKNOWN_MEMBER_ID);
  });

  it.each(versions(0, 5))('LeaveGroup v%i', async (version) => {
    const groupId = `leave-${version}`;
    const { memberId } = await joinAndSync(groupId);
    const body = version >= 3 ? { members: [{ memberId }] } : { memberId };
    expect(await client.send(leaveGroup, version, { groupId, ...body })).toMatchObject({ errorCode: 0 });
    const view = await client.send(describeGroups, 5, { groups: [groupId] });
    expect(view.groups).toMatchObject([{ groupState: 'Empty', members: [] }]);
  });

  it.each(versions(0, 6))('DescribeGroups v%i', async (version) => {
    const groupId = `describe-${version}`;
    const { memberId } = await joinAndSync(groupId);
    const answer = await client.send(describeGroups, version, { groups: [groupId, 'absent'] });
    expect(answer.groups).toMatchObject([
      {
        groupState: 'Stable',
        protocolData: 'range',
        members: [{ memberId, clientId: 'testkit', memberAssignment: Buffer.from('mine') }],
      },
      { groupState: 'Dead', errorCode: version >= 6 ? errorCodes.GROUP_ID_NOT_FOUND : 0 },
    ]);
  });

  it.each(versions(0, 5))('ListGroups v%i', async (version) => {
    await joinAndSync(`listed-${version}`);
    const filter = version >= 4 ? { statesFilter: ['Stable'] } : {};
    const answer = await client.send(listGroups, version, filter);
    expect(answer.groups.map((group) => group.groupId)).toContain(`listed-${version}`);
    expect(answer.groups.map((group) => group.groupId).includes('leave-0')).toBe(version < 4);
  });

  it.each(versions(1, 10))('OffsetCommit and OffsetFetch v%i', async (version) => {
    const groupId = `commit-${version}`;
    const named = version >= 10 ? { topicId } : { name: 't' };
    const commit = (partitionIndex: number, committedMetadata: string) => ({
      partitionIndex,
      committedOffset: 40 + partitionIndex,
      committedMetadata,
    });
    const committed = await client.send(offsetCommit, version, {
      groupId,
      topics: [{ ...named, partitions: [commit(0, 'text'), commit(1, 'x'.repeat(4097)), commit(7, '')] }],
    });
    expect(committed.topics[0]?.partitions.map((partition) => partition.errorCode)).toEqual([
      0,
      errorCodes.OFFSET_METADATA_TOO_LARGE,
      errorCodes.UNKNOWN_TOPIC_OR_PARTITION,
    ]);
    const topics = [{ ...named, partitionIndexes: [0, 1] }];
    const body =
      version >= 8 ? { groups: [{ groupId, topics }] } : { groupId, topics: [{ name: 't', ...topics[0]! }] };
    const fetched = await client.send(offsetFetch, version, body);
    const found = version >= 8 ? fetched.groups[0]!.topics : fetched.topics;
    expect(found[0]?.partitions).toMatchObject([
      { committedOffset: 40, metadata: 'text', errorCode: 0 },
      { committedOffset: -1, metadata: '', errorCode: 0 },
    ]);
    if (version < 2) return;
    const every = version >= 8 ? { groups: [{ groupId, topics: null }] } : { groupId, topics: null };
    const all = await client.send(offsetFetch, version, every);
    const everything = version >= 8 ? all.groups[0]!.topics : all.topics;
    expect(everything[0]?.partitions).toMatchObject([{ partitionIndex: 0, committedOffset: 40 }]);
  });

  it.each(versions(0, 2))('DeleteGroups v%i', async (version) => {
    const groupId = `delete-${version}`;
    const { memberId } = await joinAndSync(groupId);
    const send = () => client.send(deleteGroups, version, { groupsNames: [groupId] });
    expect((await send()).results).toMatchObject([{ errorCode: errorCodes.NON_EMPTY_GROUP }]);
    await client.send(leaveGroup, 5, { groupId, members: [{ memberId }] });
    expect((await send()).results).toMatchObject([{ errorCode: 0 }]);
    expect((await send()).results).toMatchObject([{ errorCode: errorCodes.GROUP_ID_NOT_FOUND }]);
  });

  it('OffsetDelete v0', async () => {
    const groupId = 'offset-delete';
    const partition = { partitionIndex: 0, committedOffset: 3, committedMetadata: '' };
    await client.send(offsetCommit, 9, { groupId, topics: [{ name: 't', partitions: [partition] }] });
    const send = () =>
      client.send(offsetDelete, 0, { groupId, topics: [{ name: 't', partitions: [{ partitionIndex: 0 }] }] });
    expect(await send()).toMatchObject({ errorCode: 0, topics: [{ partitions: [{ errorCode: 0 }] }] });
    expect(await send()).toMatchObject({ errorCode: errorCodes.GROUP_ID_NOT_FOUND });
  });
});

describe('a restart', () => {
  it('kafka defect 14: acknowledged offsets and a stable generation outlive the broker', async () => {
    const groupId = 'durable';
    const member = await joinAndSync(groupId);
    const commit = (committedOffset: number): Promise<ResponseOf<typeof offsetCommit>> => {
      const partition = { partitionIndex: 1, committedOffset, committedMetadata: 'm' };
      return client.send(offsetCommit, 9, {
        groupId,
        memberId: member.memberId,
        generationIdOrMemberEpoch: member.generationId,
        topics: [{ name: 't', partitions: [partition] }],
      });
    };
    expect((await commit(77)).topics[0]?.partitions[0]?.errorCode).toBe(0);
    // From here on nothing is written: what is acknowledged now would be lost.
    storage.journal.fuse.blowAfter(0);
    const outcome = commit(78).then(
      () => 'acknowledged',
      () => 'unknown',
    );
    await delay(80);
    await die();
    expect(await outcome).toBe('unknown');
    expect(await client.send(heartbeat, 4, { groupId, ...member })).toMatchObject({ errorCode: 0 });
    const again = await client.send(syncGroup, 5, { groupId, ...member, assignments: [] });
    expect(again).toMatchObject({ errorCode: 0, assignment: Buffer.from('mine') });
    const topics = [{ name: 't', partitionIndexes: [1] }];
    const fetched = await client.send(offsetFetch, 9, { groups: [{ groupId, topics }] });
    expect(fetched.groups[0]?.topics[0]?.partitions).toMatchObject([{ committedOffset: 77, metadata: 'm' }]);
  });
});

it('semantics 2.7: a topic that is made again has no offsets', async () => {
  const old = await kernel.topics.create('again', 1);
  const groupId = 'recreated';
  const partition = { partitionIndex: 0, committedOffset: 5, committedMetadata: '' };
  await client.send(offsetCommit, 9, { groupId, topics: [{ name: 'again', partitions: [partition] }] });
  await kernel.topics.delete(old);
  await kernel.topics.create('again', 1);
  const topics = [{ name: 'again', partitionIndexes: [0] }];
  const fetched = await client.send(offsetFetch, 9, { groups: [{ groupId, topics }] });
  expect(fetched.groups[0]?.topics[0]?.partitions).toMatchObject([{ committedOffset: -1, errorCode: 0 }]);
});

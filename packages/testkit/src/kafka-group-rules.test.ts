import { setTimeout as delay } from 'node:timers/promises';
import {
  deleteGroups,
  describeGroups,
  errorCodes,
  findCoordinator,
  heartbeat,
  joinGroup,
  leaveGroup,
  listGroups,
  offsetCommit,
  offsetDelete,
  offsetFetch,
  syncGroup,
} from '@robustmq/kafka-codec';
import type { RequestInput, ResponseOf } from '@robustmq/kafka-codec';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { KafkaClient } from './kafka-client.ts';
import { startKafka } from './kafka-fixture.ts';
import type { KafkaFixture } from './kafka-fixture.ts';
import { waitUntil } from './wait-until.ts';

let kafka: KafkaFixture;
let client: KafkaClient;

beforeAll(async () => {
  kafka = await startKafka({ groups: { initialDelayMs: 0, sessionTimeoutMinMs: 100 } });
  client = kafka.client;
  await kafka.kernel.topics.create('t', 4);
});

afterAll(async () => {
  expect(kafka.failures).toEqual([]);
  await kafka.stop();
});

type Joined = ResponseOf<typeof joinGroup>;

/** A member of a group on a connection of its own, as a consumer is. */
class Member {
  readonly groupId: string;
  readonly instanceId: string | null;
  memberId = '';
  generation = -1;
  assignment = '';
  readonly #connection: KafkaClient;
  readonly #asked: Partial<RequestInput<typeof joinGroup>>;

  private constructor(
    connection: KafkaClient,
    groupId: string,
    instanceId: string | null,
    asked: Partial<RequestInput<typeof joinGroup>>,
  ) {
    this.#connection = connection;
    this.groupId = groupId;
    this.instanceId = instanceId;
    this.#asked = asked;
  }

  static async create(
    groupId: string,
    instanceId: string | null = null,
    asked: Partial<RequestInput<typeof joinGroup>> = {},
  ): Promise<Member> {
    return new Member(await KafkaClient.connect(kafka.kafka.address()), groupId, instanceId, asked);
  }

  async join(metadata = ''): Promise<Joined> {
    const send = (): Promise<Joined> =>
      this.#connection.send(joinGroup, 9, {
        groupId: this.groupId,
        memberId: this.memberId,
        groupInstanceId: this.instanceId,
        sessionTimeoutMs: 10_000,
        rebalanceTimeoutMs: 10_000,
        protocolType: 'consumer',
        protocols: [{ name: 'cooperative-sticky', metadata: Buffer.from(metadata) }],
        ...this.#asked,
      });
    let answer = await send();
    if (answer.errorCode === errorCodes.MEMBER_ID_REQUIRED) {
      this.memberId = answer.memberId;
      answer = await send();
    }
    if (answer.errorCode === 0) {
      this.memberId = answer.memberId;
      this.generation = answer.generationId;
    }
    return answer;
  }

  /** Hands in assignments if it leads; keeps its own. */
  async sync(assignments: Record<string, string> = {}): Promise<number> {
    const answer = await this.#connection.send(syncGroup, 5, {
      ...this.#speaker(),
      assignments: Object.entries(assignments).map(([memberId, text]) => ({
        memberId,
        assignment: Buffer.from(text),
      })),
    });
    if (answer.errorCode === 0) this.assignment = answer.assignment.toString();
    return answer.errorCode;
  }

  async heartbeat(): Promise<number> {
    return (await this.#connection.send(heartbeat, 4, this.#speaker())).errorCode;
  }

  async commit(committedOffset: number, generation = this.generation): Promise<number> {
    const answer = await this.#connection.send(offsetCommit, 9, {
      groupId: this.groupId,
      memberId: this.memberId,
      groupInstanceId: this.instanceId,
      generationIdOrMemberEpoch: generation,
      topics: [{ name: 't', partitions: [{ partitionIndex: 0, committedOffset, committedMetadata: 'm' }] }],
    });
    return answer.topics[0]!.partitions[0]!.errorCode;
  }

  async leave(): Promise<number> {
    const members = [{ memberId: this.memberId, groupInstanceId: this.instanceId }];
    const answer = await this.#connection.send(leaveGroup, 5, { groupId: this.groupId, members });
    return answer.members[0]!.errorCode;
  }

  /** As a process that dies: nothing is said. */
  vanish(): void {
    this.#connection.close();
  }

  #speaker(): { groupId: string; memberId: string; groupInstanceId: string | null; generationId: number } {
    const { groupId, memberId, instanceId, generation } = this;
    return { groupId, memberId, groupInstanceId: instanceId, generationId: generation };
  }
}

async function stateOf(groupId: string): Promise<string> {
  return (await client.send(describeGroups, 5, { groups: [groupId] })).groups[0]!.groupState;
}

async function committed(groupId: string): Promise<number> {
  const groups = [{ groupId, topics: [{ name: 't', partitionIndexes: [0] }] }];
  const answer = await client.send(offsetFetch, 9, { groups });
  return answer.groups[0]!.topics[0]!.partitions[0]!.committedOffset;
}

describe('a cooperative rebalance', () => {
  it('takes two rounds, in which partitions that stay are never taken away', async () => {
    const a = await Member.create('cooperative');
    await a.join();
    expect(await a.sync({ [a.memberId]: '0123' })).toBe(0);
    const b = await Member.create('cooperative');
    const joining = b.join();
    await waitUntil(async () => (await a.heartbeat()) === errorCodes.REBALANCE_IN_PROGRESS);
    // First round: it says what it has, goes on with it, and is told to give two of it up.
    const first = await a.join('owns 0123');
    expect(first.members.map(({ metadata }) => metadata.toString()).sort()).toEqual(['', 'owns 0123']);
    await joining;
    const half = a.sync({ [a.memberId]: '01', [b.memberId]: '' });
    expect([await half, await b.sync()]).toEqual([0, 0]);
    expect([a.assignment, b.assignment]).toEqual(['01', '']);
    expect(await a.commit(5)).toBe(0);
    // Second round: what was given up goes to the other.
    const again = a.join('owns 01');
    await waitUntil(async () => (await b.heartbeat()) === errorCodes.REBALANCE_IN_PROGRESS);
    await Promise.all([again, b.join()]);
    expect(await Promise.all([a.sync({ [a.memberId]: '01', [b.memberId]: '23' }), b.sync()])).toEqual([0, 0]);
    expect([a.assignment, b.assignment]).toEqual(['01', '23']);
    expect([a.generation, b.generation]).toEqual([3, 3]);
    expect([await a.heartbeat(), await b.heartbeat()]).toEqual([0, 0]);
  });
});

describe('a session', () => {
  it('ends without heartbeats, and the group goes on without the member', async () => {
    const short = { sessionTimeoutMs: 300 };
    const a = await Member.create('sessions', null, short);
    const b = await Member.create('sessions', null, short);
    await a.join();
    const joining = b.join();
    await delay(20);
    await a.join();
    await joining;
    await Promise.all([a.sync({ [a.memberId]: 'a', [b.memberId]: 'b' }), b.sync()]);
    b.vanish();
    await waitUntil(async () => (await a.heartbeat()) === errorCodes.REBALANCE_IN_PROGRESS);
    const answer = await a.join();
    expect(answer.members).toHaveLength(1);
    await a.sync({ [a.memberId]: 'all' });
    expect(a.assignment).toBe('all');
    a.vanish();
    await waitUntil(async () => (await stateOf('sessions')) === 'Empty');
  });

  it.each([99, 1_800_001, 0, -1])('of %i ms is refused', async (sessionTimeoutMs) => {
    const member = await Member.create(`session-${sessionTimeoutMs}`, null, { sessionTimeoutMs });
    expect((await member.join()).errorCode).toBe(errorCodes.INVALID_SESSION_TIMEOUT);
    expect(await stateOf(`session-${sessionTimeoutMs}`)).toBe('Dead');
  });
});

describe('a static member', () => {
  it('comes back under a new id without a rebalance; its former self is fenced wherever it speaks', async () => {
    const old = await Member.create('static', 'instance');
    await old.join();
    await old.sync({ [old.memberId]: 'all' });
    const fresh = await Member.create('static', 'instance');
    const answer = await fresh.join();
    expect(answer).toMatchObject({ errorCode: 0, generationId: 1, skipAssignment: true });
    expect(fresh.memberId).not.toBe(old.memberId);
    expect(await fresh.sync()).toBe(0);
    expect(fresh.assignment).toBe('all');
    expect([await old.heartbeat(), await old.sync(), await old.commit(1), await old.leave()]).toEqual(
      Array.from({ length: 4 }, () => errorCodes.FENCED_INSTANCE_ID),
    );
    expect((await old.join()).errorCode).toBe(errorCodes.FENCED_INSTANCE_ID);
    expect(await fresh.heartbeat()).toBe(0);
    expect(await fresh.commit(7)).toBe(0);
    expect(await committed('static')).toBe(7);
  });
});

describe('an offset', () => {
  it('is committed by members of the generation, and by others only while there is none', async () => {
    const groupId = 'commits';
    const outside = await Member.create(groupId);
    expect(await outside.commit(1)).toBe(0);
    expect(await outside.commit(1, 3)).toBe(errorCodes.ILLEGAL_GENERATION);
    const member = await Member.create(groupId);
    await member.join();
    expect(await member.commit(2)).toBe(errorCodes.REBALANCE_IN_PROGRESS);
    await member.sync({ [member.memberId]: 'all' });
    expect(await member.commit(3)).toBe(0);
    expect(await member.commit(4, 0)).toBe(errorCodes.ILLEGAL_GENERATION);
    expect(await member.commit(4, 2)).toBe(errorCodes.ILLEGAL_GENERATION);
    expect(await outside.commit(5)).toBe(errorCodes.UNKNOWN_MEMBER_ID);
    outside.memberId = 'stranger';
    expect(await outside.commit(5, 1)).toBe(errorCodes.UNKNOWN_MEMBER_ID);
    expect(await committed(groupId)).toBe(3);
    expect(await member.leave()).toBe(0);
    // The group is empty again: a tool may move it, under any name.
    expect(await outside.commit(9)).toBe(0);
    expect(await committed(groupId)).toBe(9);
  });

  it('kafka defect 7: keeps its text and epoch', async () => {
    const commit = {
      partitionIndex: 2,
      committedOffset: 4,
      committedLeaderEpoch: 1,
      committedMetadata: 'čeština\n',
    };
    await client.send(offsetCommit, 9, { groupId: 'texts', topics: [{ name: 't', partitions: [commit] }] });
    const groups = [{ groupId: 'texts', topics: null }];
    const answer = await client.send(offsetFetch, 9, { groups });
    expect(answer.groups[0]!.topics[0]!.partitions).toEqual([
      { partitionIndex: 2, committedOffset: 4, committedLeaderEpoch: 1, metadata: 'čeština\n', errorCode: 0 },
    ]);
  });

  it('is not deleted while the group has members, nor is the group', async () => {
    const groupId = 'kept';
    const member = await Member.create(groupId);
    await member.join();
    await member.sync({ [member.memberId]: 'all' });
    await member.commit(3);
    const topics = [{ name: 't', partitions: [{ partitionIndex: 0 }] }];
    const kept = await client.send(offsetDelete, 0, { groupId, topics });
    expect(kept.topics[0]!.partitions[0]!.errorCode).toBe(errorCodes.GROUP_SUBSCRIBED_TO_TOPIC);
    const groupsNames = [groupId, 'absent', ''];
    const refused = await client.send(deleteGroups, 2, { groupsNames });
    expect(refused.results.map(({ errorCode }) => errorCode)).toEqual([
      errorCodes.NON_EMPTY_GROUP,
      errorCodes.GROUP_ID_NOT_FOUND,
      errorCodes.INVALID_GROUP_ID,
    ]);
    expect(await committed(groupId)).toBe(3);
    await member.leave();
    expect((await client.send(deleteGroups, 2, { groupsNames: [groupId] })).results[0]!.errorCode).toBe(0);
    expect([await committed(groupId), await stateOf(groupId)]).toEqual([-1, 'Dead']);
  });

  it('invariant 4: is where the last commit put it, whichever connection it came on', async () => {
    const members = await Promise.all(Array.from({ length: 4 }, () => Member.create('order')));
    for (let offset = 1; offset <= 40; offset++) {
      expect(await members[offset % 4]!.commit(offset)).toBe(0);
      expect(await committed('order')).toBe(offset);
    }
  });
});

describe('a group that is too much for one record of the log', () => {
  it('takes no more members, and the process goes on: it ended', async () => {
    const large = 'x'.repeat(900_000);
    const a = await Member.create('large');
    expect((await a.join(large)).errorCode).toBe(0);
    const b = await Member.create('large');
    expect((await b.join(large)).errorCode).toBe(errorCodes.GROUP_MAX_SIZE_REACHED);
    expect(await a.sync({ [a.memberId]: 'all' })).toBe(0);
  });

  it('by its assignment tells its members', async () => {
    const member = await Member.create('assigned');
    await member.join();
    expect(await member.sync({ [member.memberId]: 'x'.repeat(3_000_000) })).toBe(
      errorCodes.UNKNOWN_SERVER_ERROR,
    );
    expect(await member.sync({ [member.memberId]: 'less' })).toBe(0);
    expect(member.assignment).toBe('less');
  });
});

it('a client with a long id becomes a member whose id every version can tell', async () => {
  const connection = await KafkaClient.connect(kafka.kafka.address());
  const asked = {
    groupId: 'long-client',
    memberId: '',
    sessionTimeoutMs: 10_000,
    protocolType: 'consumer',
    protocols: [{ name: 'range', metadata: Buffer.alloc(0) }],
  };
  const answer = await connection.send(joinGroup, 0, asked, 'c'.repeat(32_767));
  expect(answer.errorCode).toBe(0);
  expect(answer.memberId.length).toBeLessThan(400);
  expect((await client.send(describeGroups, 0, { groups: ['long-client'] })).groups[0]!.members).toHaveLength(
    1,
  );
  connection.close();
});

it('kafka defect 11: members of chained groups survive overlapping rebalances', async () => {
  const groups = ['chain-1', 'chain-2', 'chain-3'];
  const members = (
    await Promise.all(groups.map((group) => Promise.all([0, 1, 2].map(() => Member.create(group)))))
  ).flat();
  /** Until it is in a stable generation: joins as often as it is told to. */
  const settle = async (member: Member): Promise<void> => {
    for (;;) {
      const answer = await member.join();
      expect(answer.errorCode).toBe(0);
      const assignments = Object.fromEntries(answer.members.map(({ memberId }) => [memberId, memberId]));
      const synced = await member.sync(assignments);
      if (synced === 0 && (await member.heartbeat()) === 0) return;
      expect([0, errorCodes.REBALANCE_IN_PROGRESS, errorCodes.ILLEGAL_GENERATION]).toContain(synced);
    }
  };
  const beats = async (member: Member): Promise<void> => {
    await settle(member);
    for (let count = 0; count < 60; count++) {
      const error = await member.heartbeat();
      expect([0, errorCodes.REBALANCE_IN_PROGRESS]).toContain(error);
      if (error !== 0) await settle(member);
      await delay(10);
    }
  };
  await Promise.all(members.map(beats));
  await Promise.all(
    groups.map(async (group) => {
      const described = await client.send(describeGroups, 5, { groups: [group] });
      expect(described.groups[0]!.members).toHaveLength(3);
    }),
  );
});

it('groups are listed by state, and coordinated here', async () => {
  const member = await Member.create('listed');
  await member.join();
  await member.sync({ [member.memberId]: 'all' });
  const listed = async (statesFilter: string[], typesFilter: string[] = []) => {
    const answer = await client.send(listGroups, 5, { statesFilter, typesFilter });
    return answer.groups.some(({ groupId }) => groupId === 'listed');
  };
  expect(await listed(['Stable'])).toBe(true);
  expect(await listed(['stable'])).toBe(true);
  expect(await listed(['Empty'])).toBe(false);
  expect(await listed([], ['classic'])).toBe(true);
  expect(await listed([], ['share'])).toBe(false);
  const found = await client.send(findCoordinator, 4, { keyType: 0, coordinatorKeys: ['listed'] });
  expect(found.coordinators).toMatchObject([{ key: 'listed', nodeId: 1, errorCode: 0 }]);
  const share = await client.send(findCoordinator, 4, { keyType: 2, coordinatorKeys: ['x'] });
  expect(share.coordinators[0]!.errorCode).toBe(errorCodes.INVALID_REQUEST);
});

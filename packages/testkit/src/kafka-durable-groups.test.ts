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
  offsetCommit,
  offsetDelete,
  offsetFetch,
  syncGroup,
} from '@robustmq/kafka-codec';
import type { ResponseOf } from '@robustmq/kafka-codec';
import type { Kernel } from '@robustmq/kernel';
import { describe, expect, it, vi } from 'vitest';
import { KafkaClient } from './kafka-client.ts';
import { createMemoryStorage, startKernel } from './memory-kernel.ts';
import type { MemoryStorage } from './memory-kernel.ts';

const groupId = 'g';
/** A broker that does not wait for its journal answers in a few of them. */
const silenceMs = 80;

/** A broker with one topic; it can die. `await using` stops the one that lives. */
class Broker {
  readonly storage: MemoryStorage;
  readonly #clients: KafkaClient[] = [];
  #kernel!: Kernel;
  #kafka!: KafkaAdapter;

  private constructor(storage: MemoryStorage) {
    this.storage = storage;
  }

  static async start(): Promise<Broker> {
    const broker = new Broker(await createMemoryStorage());
    await broker.#start();
    await broker.#kernel.topics.create('t', 2);
    return broker;
  }

  async connect(): Promise<KafkaClient> {
    const client = await KafkaClient.connect(this.#kafka.address());
    this.#clients.push(client);
    return client;
  }

  /** Nothing that is under way comes to its end; another broker starts on what is stored. */
  async die(): Promise<void> {
    this.storage.journal.crash();
    this.#drop();
    void this.#kafka.stop();
    await this.#start();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#drop();
    await this.#kafka.stop();
    await this.#kernel.stop();
  }

  #drop(): void {
    for (const client of this.#clients.splice(0)) client.close();
  }

  async #start(): Promise<void> {
    this.#kernel = await startKernel(this.storage);
    this.#kafka = createKafkaAdapter(
      { hosts: ['127.0.0.1'], port: 0, nodeId: 1, groups: { initialDelayMs: 0 } },
      { kernel: this.#kernel, clock: systemClock, random: systemRandom, logger: silentLogger },
    );
    await this.#kafka.start();
  }
}

/** Sends a request; what has come of it until now. */
function asked<Answer>(answer: Promise<Answer>): { answer: Promise<Answer>; answered: boolean } {
  const waiting = { answer, answered: false };
  answer.then(
    () => (waiting.answered = true),
    // The broker dies before it answers.
    () => undefined,
  );
  return waiting;
}

interface Member {
  readonly memberId: string;
  readonly generationId: number;
  readonly groupInstanceId: string | null;
}

async function join(client: KafkaClient, groupInstanceId: string | null): Promise<Member> {
  const ask = (memberId: string): Promise<ResponseOf<typeof joinGroup>> =>
    client.send(joinGroup, 9, {
      groupId,
      memberId,
      groupInstanceId,
      sessionTimeoutMs: 10_000,
      protocolType: 'consumer',
      protocols: [{ name: 'range', metadata: Buffer.from('subscription') }],
    });
  let answer = await ask('');
  if (answer.errorCode === errorCodes.MEMBER_ID_REQUIRED) answer = await ask(answer.memberId);
  expect(answer.errorCode).toBe(0);
  return { memberId: answer.memberId, generationId: answer.generationId, groupInstanceId };
}

function sync(client: KafkaClient, member: Member): Promise<ResponseOf<typeof syncGroup>> {
  const assignments = [{ memberId: member.memberId, assignment: Buffer.from('mine') }];
  return client.send(syncGroup, 5, { groupId, ...member, assignments });
}

function commit(client: KafkaClient, committedOffset: number): Promise<ResponseOf<typeof offsetCommit>> {
  const partitions = [{ partitionIndex: 0, committedOffset, committedMetadata: '' }];
  return client.send(offsetCommit, 9, { groupId, topics: [{ name: 't', partitions }] });
}

/** What is committed for the partition; -1 for nothing. */
async function committed(client: KafkaClient): Promise<number> {
  const topics = [{ name: 't', partitionIndexes: [0] }];
  const { groups } = await client.send(offsetFetch, 9, { groups: [{ groupId, topics }] });
  return groups[0]!.topics[0]!.partitions[0]!.committedOffset;
}

/** The state of the group and the assignments of its members. */
async function described(client: KafkaClient): Promise<string[]> {
  const { groupState, members } = (await client.send(describeGroups, 5, { groups: [groupId] })).groups[0]!;
  return [groupState, ...members.map(({ memberAssignment }) => memberAssignment.toString())];
}

/** A request that changes what is stored of a group. */
interface Change {
  readonly name: string;
  /** Makes the group as it is before the change; gives what the change and the look at it need of that. */
  readonly prepare: (client: KafkaClient) => Promise<Member | null>;
  readonly send: (client: KafkaClient, member: Member) => Promise<object>;
  readonly answer: object;
  readonly look: (client: KafkaClient, member: Member) => Promise<unknown>;
  readonly before: unknown;
  readonly after: unknown;
}

async function withOffset(client: KafkaClient): Promise<null> {
  expect(await commit(client, 5)).toMatchObject({ topics: [{ partitions: [{ errorCode: 0 }] }] });
  return null;
}

const offsetCommitted: Change = {
  name: 'OffsetCommit',
  prepare: withOffset,
  send: (client) => commit(client, 77),
  answer: { topics: [{ partitions: [{ partitionIndex: 0, errorCode: 0 }] }] },
  look: committed,
  before: 5,
  after: 77,
};

const offsetDeleted: Change = {
  name: 'OffsetDelete',
  prepare: withOffset,
  send: (client) =>
    client.send(offsetDelete, 0, { groupId, topics: [{ name: 't', partitions: [{ partitionIndex: 0 }] }] }),
  answer: { errorCode: 0, topics: [{ partitions: [{ partitionIndex: 0, errorCode: 0 }] }] },
  look: committed,
  before: 5,
  after: -1,
};

const groupDeleted: Change = {
  name: 'DeleteGroups',
  prepare: withOffset,
  send: (client) => client.send(deleteGroups, 2, { groupsNames: [groupId] }),
  answer: { results: [{ groupId, errorCode: 0 }] },
  look: async (client) => [...(await described(client)), await committed(client)],
  before: ['Empty', 5],
  after: ['Dead', -1],
};

const generationStored: Change = {
  name: 'SyncGroup of the leader',
  prepare: (client) => join(client, null),
  send: sync,
  answer: { errorCode: 0, assignment: Buffer.from('mine') },
  look: described,
  // The next broker has not heard of a generation that no member was told of.
  before: ['Dead'],
  after: ['Stable', 'mine'],
};

const memberReplaced: Change = {
  name: 'JoinGroup of a static member that returns',
  prepare: async (client) => {
    const member = await join(client, 'instance');
    expect(await sync(client, member)).toMatchObject({ errorCode: 0 });
    return member;
  },
  send: (client) => join(client, 'instance'),
  answer: { generationId: 1 },
  look: async (client, member) => (await client.send(heartbeat, 4, { groupId, ...member })).errorCode,
  before: errorCodes.NONE,
  after: errorCodes.FENCED_INSTANCE_ID,
};

const changes = [offsetDeleted, groupDeleted, generationStored, memberReplaced].map(
  (change) => [change.name, change] as const,
);

/** The broker as it is before a change, and the change to be sent on a connection of its own. */
async function prepared(
  broker: Broker,
  { prepare, send, look }: Change,
): Promise<{ send: () => Promise<object>; look: () => Promise<unknown> }> {
  const client = await broker.connect();
  const member = (await prepare(client))!;
  return { send: () => send(client, member), look: async () => look(await broker.connect(), member) };
}

async function waitsForItsCommit(change: Change): Promise<void> {
  await using broker = await Broker.start();
  const { send, look } = await prepared(broker, change);
  const { journal } = broker.storage;
  journal.hold();
  const waiting = asked(send());
  await delay(silenceMs);
  expect(waiting.answered).toBe(false);
  journal.release();
  expect(await waiting.answer).toMatchObject(change.answer);
  expect(await look()).toEqual(change.after);
}

/** A death before the write, or after it and before the journal has said so. */
async function diesUnanswered(change: Change, written: boolean): Promise<void> {
  await using broker = await Broker.start();
  const { send, look } = await prepared(broker, change);
  const { journal } = broker.storage;
  if (written) journal.hold();
  else journal.fuse.blowAfter(0);
  const waiting = asked(send());
  await delay(silenceMs);
  expect(waiting.answered).toBe(false);
  await broker.die();
  await expect(waiting.answer).rejects.toThrow('closed');
  expect(await look()).toEqual(written ? change.after : change.before);
}

async function diesAnswered(change: Change): Promise<void> {
  await using broker = await Broker.start();
  const { send, look } = await prepared(broker, change);
  expect(await send()).toMatchObject(change.answer);
  await broker.die();
  expect(await look()).toEqual(change.after);
}

describe('what changes a group is answered when it is durable', () => {
  it('kafka defect 14: OffsetCommit', () => waitsForItsCommit(offsetCommitted));

  it.each(changes)('%s', (_name, change) => waitsForItsCommit(change));

  it('and is not seen before', async () => {
    await using broker = await Broker.start();
    const [client, other] = [await broker.connect(), await broker.connect()];
    const { journal } = broker.storage;
    await withOffset(client);
    journal.hold();
    const committing = asked(commit(client, 77));
    await delay(silenceMs);
    expect([committing.answered, await committed(other)]).toEqual([false, 5]);
    journal.release();
    await committing.answer;
    expect(await committed(other)).toBe(77);
    journal.hold();
    // Nothing of a member that joins is stored: the generation is, with what its leader assigns.
    const member = await join(client, null);
    const syncing = asked(sync(client, member));
    await delay(silenceMs);
    expect([syncing.answered, await described(other)]).toEqual([false, ['CompletingRebalance', '']]);
    journal.release();
    expect(await syncing.answer).toMatchObject(generationStored.answer);
    expect(await described(other)).toEqual(['Stable', 'mine']);
  });
});

describe('a change that is not durable in time', () => {
  it.each([offsetCommitted, offsetDeleted, groupDeleted].map((change) => [change.name, change] as const))(
    '%s has an error that clients repeat, lets the requests behind it go on, and is stored all the same',
    async (_name, change) => {
      await using broker = await Broker.start();
      const client = await broker.connect();
      await change.prepare(client);
      const { journal } = broker.storage;
      journal.hold();
      const since = performance.now();
      const [answer, behind] = await Promise.all([change.send(client, null!), committed(client)]);
      expect(performance.now() - since).toBeGreaterThan(4900);
      expect(JSON.stringify(answer)).toContain(`"errorCode":${errorCodes.COORDINATOR_NOT_AVAILABLE}`);
      expect(behind).toBe(5);
      // Repetitions do not pile up behind it.
      const again = JSON.stringify(await commit(client, 78));
      expect(again).toContain(`"errorCode":${errorCodes.COORDINATOR_NOT_AVAILABLE}`);
      journal.release();
      await vi.waitFor(async () => expect(await change.look(client, null!)).toEqual(change.after));
    },
    20_000,
  );
});

describe('a death before the write is the end of a change that nobody was told of', () => {
  it('kafka defect 14: OffsetCommit', () => diesUnanswered(offsetCommitted, false));

  it.each(changes)('kafka defect 24: %s', (_name, change) => diesUnanswered(change, false));
});

describe('a death after the write and before its acknowledgement keeps the change, though nobody was told', () => {
  it('kafka defect 14: OffsetCommit', () => diesUnanswered(offsetCommitted, true));

  it.each(changes)('kafka defect 24: %s', (_name, change) => diesUnanswered(change, true));
});

describe('a death after the answer changes nothing', () => {
  it('kafka defect 14: OffsetCommit', () => diesAnswered(offsetCommitted));

  it.each(changes)('kafka defect 24: %s', (_name, change) => diesAnswered(change));
});

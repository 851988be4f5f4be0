import { Pulse, TimingWheel } from '@robustmq/core';
import type { RobustError, Timer, TopicId, WheelItem } from '@robustmq/core';
import { errorCodes } from '@robustmq/kafka-codec';
import type { ErrorNumber } from '@robustmq/kafka-codec';
import type { Fold, FoldItem, FoldShard } from '@robustmq/kernel';
import type { KafkaModules, Peer } from '../adapter.ts';
import { errorNumber } from '../error-map.ts';
import { isPlainName } from '../names.ts';
import { defaultGroupLimits, Group } from './group.ts';
import type { GroupLimits, JoinRequest, Speaker, SyncRequest } from './group.ts';
import {
  groupItem,
  groupKind,
  groupTombstone,
  offsetItem,
  offsetTombstone,
  partitionKey,
} from './group-fold.ts';
import type { CommittedOffset, GroupEntry, GroupsState, StoredGroup, StoredMember } from './group-fold.ts';
import type { JoinAnswer, SyncAnswer } from './member.ts';

const tickMs = 50;
const expiryCheckMs = 10 * 60_000;
/** Offsets of an empty group are kept this long. */
const offsetRetentionMs = 7 * 24 * 3600 * 1000;
/** A commit is answered within this, as by a Kafka broker (`offsets.commit.timeout.ms`). */
const appendTimeoutMs = 5000;
/** Longest text beside a committed offset, bytes. */
const offsetMetadataBytesMax = 4096;
/** Longest record of a group, bytes: one entry of the log has to hold it. */
const groupBytesMax = 1_900_000;
/** What of a client's id begins the ids of its members. */
const memberPrefixMax = 256;

class Coordinated implements WheelItem {
  readonly group: Group;
  /** Members of it that are in the sum of all. */
  counted = 0;
  dueTick = 0;
  wheelSlot: Set<WheelItem> | null = null;

  constructor(group: Group) {
    this.group = group;
  }
}

/** A partition's offset to commit, its topic known. */
export type OffsetToCommit = Omit<CommittedOffset, 'committedAt'>;

/** A group as lists and descriptions show it. */
export interface GroupView {
  readonly id: string;
  readonly state: string;
  readonly protocolType: string;
  readonly protocolName: string;
  readonly members: readonly Omit<StoredMember, 'protocols'>[];
  /** What a member says about itself under the protocol in use. */
  metadataOf(memberId: string): Buffer;
}

/**
 * All groups of this broker: the machines of those with members, their deadlines, and what is stored. A generation
 * is stored before its members learn of it, and an offset before its commit is answered.
 */
export class GroupCoordinator {
  readonly #modules: KafkaModules;
  readonly #limits: GroupLimits;
  readonly #groups = new Map<string, Coordinated>();
  readonly #wheel = new TimingWheel<Coordinated>();
  #fold!: Fold<GroupsState>;
  readonly #ticking: Pulse;
  #expiring: Timer | null = null;
  #unwatch: () => void = () => undefined;
  #startedAt = 0;
  /** Appends that were answered before they were settled, by shard. */
  readonly #overdue = new Map<FoldShard<GroupsState>, number>();
  /** Members of all groups, those included who were told an id and have yet to come. */
  #members = 0;

  constructor(modules: KafkaModules, limits: Partial<GroupLimits> = {}) {
    this.#modules = modules;
    this.#limits = { ...defaultGroupLimits, ...limits };
    this.#ticking = new Pulse(modules.clock, tickMs, () => this.#tick());
  }

  /** Loads what is stored; members of before go on where they were. */
  async start(): Promise<void> {
    const { kernel, clock } = this.#modules;
    this.#fold = await kernel.folds.open(groupKind, { replaced: (shard) => this.#replaced(shard) });
    this.#startedAt = clock.monotonic();
    for (const shard of this.#fold.shards) this.#load(shard);
    this.#unwatch = kernel.modules.metadata.watch((update) => {
      for (const change of update.changes)
        if (change.kind === 'topicDeleted') this.#forgetTopic(change.topic.id);
    });
    this.#ticking.start();
    this.#expireLater();
  }

  /** Lets go of everybody who waits; their clients look for the coordinator again. */
  stop(): void {
    this.#unwatch();
    this.#ticking.stop();
    this.#expiring?.cancel();
    for (const { group } of this.#groups.values()) group.die(errorCodes.NOT_COORDINATOR);
    this.#groups.clear();
  }

  /** Resolves when the rebalance has gathered its members; never when the peer goes first, whose member stays. */
  join(groupId: string, request: JoinRequest, peer: Peer): Promise<JoinAnswer> {
    return new Promise((resolve) => {
      const valid = groupId !== '' && isPlainName(groupId, this.#limits.nameMax);
      const group = valid ? this.#groupFor(groupId, request.memberId === '') : errorCodes.INVALID_GROUP_ID;
      if (typeof group === 'number') {
        const nothing = { protocolType: null, protocolName: null, leader: '', members: [] };
        const { memberId } = request;
        resolve({ errorCode: group, memberId, generation: -1, skipAssignment: false, ...nothing });
        return;
      }
      group.join(request, this.#now(), whileOpen(peer, resolve));
      this.#reschedule(groupId);
    });
  }

  /** Resolves when the generation is durable; never when the peer goes first. */
  sync(groupId: string, request: SyncRequest, peer: Peer): Promise<SyncAnswer> {
    return new Promise((resolve) => {
      const coordinated = this.#groups.get(groupId);
      if (coordinated === undefined) {
        const errorCode = groupId === '' ? errorCodes.INVALID_GROUP_ID : errorCodes.UNKNOWN_MEMBER_ID;
        resolve({ errorCode, protocolType: null, protocolName: null, assignment: Buffer.alloc(0) });
        return;
      }
      coordinated.group.sync(request, this.#now(), whileOpen(peer, resolve));
      this.#reschedule(groupId);
    });
  }

  heartbeat(groupId: string, speaker: Speaker, generation: number): ErrorNumber {
    if (groupId === '') return errorCodes.INVALID_GROUP_ID;
    const group = this.#groups.get(groupId)?.group;
    return group?.heartbeat(speaker, generation, this.#now()) ?? errorCodes.UNKNOWN_MEMBER_ID;
  }

  leave(groupId: string, speaker: Speaker): ErrorNumber {
    if (groupId === '') return errorCodes.INVALID_GROUP_ID;
    const group = this.#groups.get(groupId)?.group;
    if (group === undefined) return errorCodes.UNKNOWN_MEMBER_ID;
    const error = group.leave(speaker, this.#now());
    if (error === errorCodes.NONE) this.#reschedule(groupId);
    return error;
  }

  /** NONE if the speaker may commit. A group that nobody coordinates takes commits without a generation. */
  commitError(groupId: string, speaker: Speaker, generation: number): ErrorNumber {
    if (!isPlainName(groupId, this.#limits.nameMax)) return errorCodes.INVALID_GROUP_ID;
    const group = this.#groups.get(groupId)?.group;
    if (group !== undefined) return group.commitError(speaker, generation, this.#now());
    if (generation >= 0) return errorCodes.ILLEGAL_GENERATION;
    // Asking again would not help: somebody has to delete groups first.
    return this.#isNew(groupId) && this.#full ? errorCodes.POLICY_VIOLATION : errorCodes.NONE;
  }

  /** What is wrong with the text beside an offset. */
  metadataError(metadata: string): ErrorNumber {
    const tooLong = Buffer.byteLength(metadata) > offsetMetadataBytesMax;
    return tooLong ? errorCodes.OFFSET_METADATA_TOO_LARGE : errorCodes.NONE;
  }

  /** Resolves when the offsets are durable, or with the error for all of them. */
  commit(groupId: string, offsets: readonly OffsetToCommit[]): Promise<ErrorNumber> {
    const committedAt = this.#modules.clock.now();
    return this.#append(
      groupId,
      offsets.map((offset) => offsetItem(groupId, { ...offset, committedAt })),
    );
  }

  committed(groupId: string, topic: TopicId, partition: number): CommittedOffset | undefined {
    return this.#entry(groupId)?.offsets.get(partitionKey(topic, partition));
  }

  committedAll(groupId: string): CommittedOffset[] {
    return [...(this.#entry(groupId)?.offsets.values() ?? [])];
  }

  /** Deletes offsets of partitions. */
  deleteOffsets(
    groupId: string,
    partitions: readonly { topic: TopicId; partition: number }[],
  ): Promise<ErrorNumber> {
    return this.#append(
      groupId,
      partitions.map(({ topic, partition }) => offsetTombstone(groupId, topic, partition)),
    );
  }

  /** Deletes a group without members, and its offsets. */
  async deleteGroup(groupId: string): Promise<ErrorNumber> {
    if (groupId === '') return errorCodes.INVALID_GROUP_ID;
    const coordinated = this.#groups.get(groupId);
    const entry = this.#entry(groupId);
    if (coordinated === undefined && entry === undefined) return errorCodes.GROUP_ID_NOT_FOUND;
    if (coordinated !== undefined && coordinated.group.state !== 'Empty') return errorCodes.NON_EMPTY_GROUP;
    if (coordinated !== undefined) this.#drop(coordinated, errorCodes.COORDINATOR_NOT_AVAILABLE);
    return this.#append(groupId, tombstones(groupId, entry));
  }

  list(): GroupView[] {
    const views: GroupView[] = [];
    for (const { group } of this.#groups.values()) views.push(viewOf(group));
    for (const shard of this.#fold.shards) {
      for (const id of shard.state.groups.keys()) if (!this.#groups.has(id)) views.push(emptyView(id));
    }
    return views;
  }

  describe(groupId: string): GroupView | undefined {
    const group = this.#groups.get(groupId)?.group;
    if (group !== undefined) return viewOf(group);
    return this.#entry(groupId) === undefined ? undefined : emptyView(groupId);
  }

  /** Ms; the time in which this process stood still, and no member could be heard, does not count. */
  #now(): number {
    return this.#modules.clock.monotonic() - this.#ticking.stoodStillMs;
  }

  #shard(groupId: string): FoldShard<GroupsState> {
    return this.#fold.of(groupId);
  }

  #entry(groupId: string): GroupEntry | undefined {
    return this.#shard(groupId).state.groups.get(groupId);
  }

  /**
   * Nobody knows what becomes of what is not durable in time: the client asks again, and on its connection others wait.
   * While a shard has such appends it takes no others, which would pile up with every repetition.
   */
  #append(groupId: string, items: readonly FoldItem[]): Promise<ErrorNumber> {
    const shard = this.#shard(groupId);
    if (this.#overdue.has(shard)) return Promise.resolve(errorCodes.COORDINATOR_NOT_AVAILABLE);
    return new Promise((resolve) => {
      let isOverdue = false;
      const timer = this.#modules.clock.after(appendTimeoutMs, () => {
        isOverdue = true;
        this.#overdue.set(shard, (this.#overdue.get(shard) ?? 0) + 1);
        resolve(errorCodes.COORDINATOR_NOT_AVAILABLE);
      });
      shard.appendThen(items, (error) => {
        timer.cancel();
        if (isOverdue) this.#settleOverdue(shard);
        resolve(error === null ? errorCodes.NONE : coordinatorError(error));
      });
    });
  }

  #settleOverdue(shard: FoldShard<GroupsState>): void {
    const left = this.#overdue.get(shard)! - 1;
    if (left === 0) this.#overdue.delete(shard);
    else this.#overdue.set(shard, left);
  }

  #groupFor(groupId: string, create: boolean): Group | ErrorNumber {
    const known = this.#groups.get(groupId);
    if (create && this.#members >= this.#limits.membersTotalMax) return errorCodes.GROUP_MAX_SIZE_REACHED;
    if (known !== undefined) return known.group;
    if (!create) return errorCodes.UNKNOWN_MEMBER_ID;
    if (this.#isNew(groupId) && this.#full) return errorCodes.POLICY_VIOLATION;
    return this.#create(groupId).group;
  }

  #isNew(groupId: string): boolean {
    return !this.#groups.has(groupId) && this.#entry(groupId) === undefined;
  }

  /** Whether there are as many groups as there may be, with members or with offsets only. */
  get #full(): boolean {
    const { groupsMax } = this.#limits;
    if (this.#groups.size >= groupsMax) return true;
    let stored = 0;
    for (const shard of this.#fold.shards) stored += shard.state.groups.size;
    return stored >= groupsMax;
  }

  #create(groupId: string): Coordinated {
    const group: Group = new Group(groupId, this.#limits, {
      newMemberId: (prefix) => {
        const head = prefix.slice(0, memberPrefixMax).toWellFormed();
        return `${head}-${this.#modules.random.bytes(16).toString('hex')}`;
      },
      store: (stored, assignments) => {
        const done = (error: ErrorNumber): void => {
          stored(error);
          this.#reschedule(groupId);
        };
        const item = groupItem(groupId, snapshot(group, assignments, this.#modules.clock.now()));
        // What its members say about themselves is too much for one record: no other try will help them.
        if (item.value!.length > groupBytesMax) queueMicrotask(() => done(errorCodes.UNKNOWN_SERVER_ERROR));
        else {
          this.#shard(groupId).appendThen([item], (error) =>
            done(error === null ? errorCodes.NONE : coordinatorError(error)),
          );
        }
      },
    });
    const coordinated = new Coordinated(group);
    this.#groups.set(groupId, coordinated);
    return coordinated;
  }

  #load(shard: FoldShard<GroupsState>): void {
    for (const [id, { stored }] of shard.state.groups) if (stored !== null) this.#restore(id, stored);
  }

  /** The groups of a shard that was lost and recovered are what is stored: members of no stored generation join again. */
  #replaced(shard: FoldShard<GroupsState>): void {
    for (const coordinated of [...this.#groups.values()]) {
      if (this.#shard(coordinated.group.id) === shard) this.#drop(coordinated, errorCodes.NOT_COORDINATOR);
    }
    this.#load(shard);
  }

  #restore(id: string, stored: StoredGroup): void {
    const { group } = this.#create(id);
    group.generation = stored.generation;
    group.protocolType = stored.protocolType;
    group.protocolName = stored.protocolName;
    group.leader = stored.leader;
    for (const member of stored.members) {
      const expiresAt = this.#now() + member.sessionTimeoutMs;
      group.restore({ ...member, expiresAt, joining: null, syncing: null });
    }
    this.#reschedule(id);
  }

  /** After every event that may bring a deadline forward; heartbeats only move them back. */
  #reschedule(groupId: string): void {
    const coordinated = this.#groups.get(groupId);
    if (coordinated === undefined) return;
    this.#count(coordinated, coordinated.group.size);
    if (coordinated.group.blank) {
      this.#drop(coordinated, errorCodes.UNKNOWN_MEMBER_ID);
      return;
    }
    const deadline = coordinated.group.nextDeadline();
    if (deadline === Infinity) {
      this.#wheel.cancel(coordinated);
      return;
    }
    coordinated.dueTick = Math.ceil((deadline - this.#startedAt) / tickMs);
    this.#wheel.schedule(coordinated);
  }

  #count(coordinated: Coordinated, members: number): void {
    this.#members += members - coordinated.counted;
    coordinated.counted = members;
  }

  #drop(coordinated: Coordinated, error: ErrorNumber): void {
    this.#count(coordinated, 0);
    this.#wheel.cancel(coordinated);
    this.#groups.delete(coordinated.group.id);
    coordinated.group.die(error);
  }

  #tick(): void {
    const now = this.#now();
    this.#wheel.advance(Math.floor((now - this.#startedAt) / tickMs), ({ group }) => {
      group.tick(now);
      this.#reschedule(group.id);
    });
  }

  #expireLater(): void {
    this.#expiring = this.#modules.clock.after(expiryCheckMs, () => {
      this.#expire(this.#modules.clock.now() - offsetRetentionMs);
      this.#expireLater();
    });
  }

  /** Deletes groups that were empty, and without a commit, since `before`. */
  #expire(before: number): void {
    for (const shard of this.#fold.shards) {
      for (const [id, entry] of shard.state.groups) {
        const coordinated = this.#groups.get(id);
        if (coordinated !== undefined && coordinated.group.state !== 'Empty') continue;
        let newest = entry.stored?.storedAt ?? 0;
        for (const { committedAt } of entry.offsets.values()) newest = Math.max(newest, committedAt);
        if (newest >= before) continue;
        if (coordinated !== undefined) this.#drop(coordinated, errorCodes.UNKNOWN_MEMBER_ID);
        shard.appendThen(tombstones(id, entry), null);
      }
    }
  }

  #forgetTopic(topic: TopicId): void {
    for (const shard of this.#fold.shards) {
      for (const [id, entry] of shard.state.groups) {
        const gone = [...entry.offsets.values()].filter((committed) => committed.topic === topic);
        if (gone.length === 0) continue;
        shard.appendThen(
          gone.map(({ partition }) => offsetTombstone(id, topic, partition)),
          null,
        );
      }
    }
  }
}

/**
 * A reply that goes nowhere once its peer is gone. A group goes on as if its member still waited, until it is answered
 * and says nothing more; the request and its connection are not kept for that.
 */
function whileOpen<Given>(peer: Peer, reply: (answer: Given) => void): (answer: Given) => void {
  const waiting: { reply: typeof reply; taken: () => void }[] = [];
  const taken = peer.onClose(() => void waiting.pop());
  waiting.push({ reply, taken });
  return (answer) => {
    const last = waiting.pop();
    last?.taken();
    last?.reply(answer);
  };
}

function tombstones(groupId: string, entry: GroupEntry | undefined): FoldItem[] {
  const items = [groupTombstone(groupId)];
  for (const { topic, partition } of entry?.offsets.values() ?? []) {
    items.push(offsetTombstone(groupId, topic, partition));
  }
  return items;
}

function snapshot(
  group: Group,
  assignments: ReadonlyMap<string, Buffer> | null,
  storedAt: number,
): StoredGroup {
  const { generation, protocolType, protocolName, leader } = group;
  const members = [...group.members.values()].map((member) => ({
    ...member,
    assignment: assignments?.get(member.id) ?? member.assignment,
  }));
  return { generation, protocolType, protocolName, leader, members, storedAt };
}

/** A group's state that cannot be written now may be written later, by this broker or another. */
function coordinatorError(error: RobustError): ErrorNumber {
  const code = errorNumber(error);
  if (code === errorCodes.NOT_LEADER_OR_FOLLOWER) return errorCodes.NOT_COORDINATOR;
  return code === errorCodes.UNKNOWN_SERVER_ERROR ? code : errorCodes.COORDINATOR_NOT_AVAILABLE;
}

function viewOf(group: Group): GroupView {
  return {
    id: group.id,
    state: group.state,
    protocolType: group.protocolType ?? '',
    protocolName: group.protocolName ?? '',
    members: [...group.members.values()],
    metadataOf: (memberId) => {
      const protocols = group.members.get(memberId)?.protocols ?? [];
      return protocols.find(({ name }) => name === group.protocolName)?.metadata ?? Buffer.alloc(0);
    },
  };
}

/** A group that only has offsets. */
function emptyView(id: string): GroupView {
  const metadataOf = (): Buffer => Buffer.alloc(0);
  return { id, state: 'Empty', protocolType: '', protocolName: '', members: [], metadataOf };
}

import { ByteReader, ByteWriter } from '@robustmq/core';
import type { TopicId } from '@robustmq/core';
import type { FoldItem, FoldKind, FoldRecord } from '@robustmq/kernel';

const version = 1;
const offsetKey = 1;
const groupKey = 2;

/** What a group has committed for one partition. */
export interface CommittedOffset {
  readonly topic: TopicId;
  readonly partition: number;
  readonly offset: number;
  readonly leaderEpoch: number;
  readonly metadata: string;
  /** When it was committed, ms since 1970. */
  readonly committedAt: number;
}

export interface StoredMember {
  readonly id: string;
  readonly instanceId: string | null;
  readonly clientId: string;
  readonly clientHost: string;
  readonly sessionTimeoutMs: number;
  readonly rebalanceTimeoutMs: number;
  readonly protocols: readonly { readonly name: string; readonly metadata: Buffer }[];
  readonly assignment: Buffer;
}

/** A generation that is complete: its members go on after a restart. Without members the group is empty. */
export interface StoredGroup {
  readonly generation: number;
  readonly protocolType: string | null;
  readonly protocolName: string | null;
  readonly leader: string;
  readonly members: readonly StoredMember[];
  /** When this was stored, ms since 1970; offsets of an empty group expire some time after it. */
  readonly storedAt: number;
}

export interface GroupEntry {
  stored: StoredGroup | null;
  /** By topic id and partition. */
  readonly offsets: Map<string, CommittedOffset>;
}

/** Committed state of the groups of one shard. */
export interface GroupsState {
  readonly groups: Map<string, GroupEntry>;
  bytes: number;
}

/** Groups and their committed offsets, in 16 shards by group id. */
export const groupKind: FoldKind<GroupsState> = {
  topic: '__consumer_offsets',
  shards: 16,
  create: () => ({ groups: new Map(), bytes: 0 }),
  apply,
  live,
  liveBytes: (state) => state.bytes,
};

export function partitionKey(topic: TopicId, partition: number): string {
  return `${topic}/${partition}`;
}

export function offsetItem(group: string, committed: CommittedOffset): FoldItem {
  const value = new ByteWriter(48 + committed.metadata.length);
  value.u8(version).i64(committed.offset).i32(committed.leaderEpoch).i64(committed.committedAt);
  value.string(committed.metadata);
  return { key: keyOfOffset(group, committed.topic, committed.partition), value: value.view() };
}

export function offsetTombstone(group: string, topic: TopicId, partition: number): FoldItem {
  return { key: keyOfOffset(group, topic, partition), value: null };
}

export function groupItem(group: string, stored: StoredGroup): FoldItem {
  const out = new ByteWriter(1024);
  out.u8(version).i32(stored.generation).i64(stored.storedAt);
  nullable(out, stored.protocolType);
  nullable(out, stored.protocolName);
  out.string(stored.leader).u32(stored.members.length);
  for (const member of stored.members) {
    out.string(member.id);
    nullable(out, member.instanceId);
    out.string(member.clientId).string(member.clientHost);
    out.u32(member.sessionTimeoutMs).u32(member.rebalanceTimeoutMs);
    out.bytes(member.assignment).u32(member.protocols.length);
    for (const { name, metadata } of member.protocols) out.string(name).bytes(metadata);
  }
  return { key: keyOfGroup(group), value: out.view() };
}

export function groupTombstone(group: string): FoldItem {
  return { key: keyOfGroup(group), value: null };
}

function keyOfOffset(group: string, topic: TopicId, partition: number): Buffer {
  return new ByteWriter(64).u8(version).u8(offsetKey).string(group).string(topic).u32(partition).view();
}

function keyOfGroup(group: string): Buffer {
  return new ByteWriter(64).u8(version).u8(groupKey).string(group).view();
}

function nullable(out: ByteWriter, text: string | null): void {
  out.bytes(text === null ? null : Buffer.from(text));
}

function apply(state: GroupsState, record: FoldRecord): void {
  const key = new ByteReader(record.key);
  if (key.u8() !== version) return;
  const kind = key.u8();
  if (kind !== offsetKey && kind !== groupKey) return;
  const id = key.string();
  if (record.value !== null && record.value[0] !== version) return;
  let entry = state.groups.get(id);
  if (entry === undefined) {
    if (record.value === null) return;
    entry = { stored: null, offsets: new Map() };
    state.groups.set(id, entry);
  }
  if (kind === groupKey) {
    if (entry.stored !== null) state.bytes -= groupBytes(id, entry.stored);
    entry.stored = record.value === null ? null : readGroup(record.value);
    if (entry.stored !== null) state.bytes += groupBytes(id, entry.stored);
  } else applyOffset(state, id, entry, key, record.value);
  if (entry.stored === null && entry.offsets.size === 0) state.groups.delete(id);
}

function applyOffset(
  state: GroupsState,
  id: string,
  entry: GroupEntry,
  key: ByteReader,
  value: Buffer | null,
): void {
  const topic = key.string() as TopicId;
  const partition = key.u32();
  const at = partitionKey(topic, partition);
  const before = entry.offsets.get(at);
  if (before !== undefined) state.bytes -= offsetBytes(id, before);
  if (value === null) {
    entry.offsets.delete(at);
    return;
  }
  const input = new ByteReader(value, 1);
  const offset = input.i64();
  const leaderEpoch = input.i32();
  const committedAt = input.i64();
  const committed = { topic, partition, offset, leaderEpoch, committedAt, metadata: input.string() };
  entry.offsets.set(at, committed);
  state.bytes += offsetBytes(id, committed);
}

/** Copies what it keeps: the record is valid during the call only. */
function readGroup(value: Buffer): StoredGroup {
  const input = new ByteReader(Buffer.from(value), 1);
  const text = (): string | null => input.bytes()?.toString() ?? null;
  const generation = input.i32();
  const storedAt = input.i64();
  const protocolType = text();
  const protocolName = text();
  const leader = input.string();
  const members: StoredMember[] = [];
  for (let left = input.count(20); left > 0; left--) {
    const id = input.string();
    const instanceId = text();
    const clientId = input.string();
    const clientHost = input.string();
    const sessionTimeoutMs = input.u32();
    const rebalanceTimeoutMs = input.u32();
    const assignment = input.bytes() ?? Buffer.alloc(0);
    const protocols: { name: string; metadata: Buffer }[] = [];
    for (let more = input.count(8); more > 0; more--) {
      protocols.push({ name: input.string(), metadata: input.bytes() ?? Buffer.alloc(0) });
    }
    const identity = { id, instanceId, clientId, clientHost };
    members.push({ ...identity, sessionTimeoutMs, rebalanceTimeoutMs, assignment, protocols });
  }
  return { generation, storedAt, protocolType, protocolName, leader, members };
}

function* live(state: GroupsState): Iterable<FoldItem> {
  for (const [id, entry] of state.groups) {
    if (entry.stored !== null) yield groupItem(id, entry.stored);
    for (const committed of entry.offsets.values()) yield offsetItem(id, committed);
  }
}

function offsetBytes(id: string, committed: CommittedOffset): number {
  return 100 + id.length + committed.metadata.length;
}

function groupBytes(id: string, stored: StoredGroup): number {
  let bytes = 100 + id.length;
  for (const member of stored.members) {
    bytes += 100 + member.id.length + member.assignment.length;
    for (const { metadata } of member.protocols) bytes += metadata.length;
  }
  return bytes;
}

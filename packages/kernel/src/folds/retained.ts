import { ByteReader, ByteWriter } from '@robustmq/core';
import type { Offset, TopicId } from '@robustmq/core';
import type { FoldItem, FoldKind, FoldRecord } from './fold-kind.ts';
import { SubjectTree } from './subject-tree.ts';

const version = 1;
const set = 1;
const cleared = 2;
/** Key of the marker that says up to where the data shard was applied; no subject is empty. */
const markerKey = Buffer.alloc(0);

/** The retained record of one subject: a copy, with the offset of the record it was made from. */
export interface RetainedRecord {
  readonly subject: string;
  readonly sourceOffset: Offset;
  readonly timestamp: number;
  readonly value: Buffer;
  /** Header block of the record, as encoded there, and how many headers it holds. */
  readonly headers: Buffer;
  readonly headerCount: number;
}

/** What is retained in one data shard. */
export interface RetainedState {
  readonly records: SubjectTree<RetainedRecord>;
  /** Every record of the data shard below this is reflected. */
  appliedThrough: Offset;
  bytes: number;
}

/** Counts what all shards retain, against the tenant's bounds (docs/semantics.md 8). */
export class RetainedUsage {
  readonly recordsMax: number;
  readonly bytesMax: number;
  records = 0;
  bytes = 0;

  constructor(recordsMax = 1_000_000, bytesMax = 1024 * 1024 * 1024) {
    this.recordsMax = recordsMax;
    this.bytesMax = bytesMax;
  }

  get full(): boolean {
    return this.records >= this.recordsMax || this.bytes >= this.bytesMax;
  }
}

/** Name of the internal topic that holds the retained copies of a data topic, shard by shard beside it. */
export function retainedTopic(topic: TopicId): string {
  return `__retained/${topic}`;
}

/** The fold of the retained copies of one topic. */
export function retainedKind(topic: TopicId, shards: number, usage: RetainedUsage): FoldKind<RetainedState> {
  return {
    topic: retainedTopic(topic),
    shards,
    applyAt: 'caller',
    create: () => ({ records: new SubjectTree(), appliedThrough: 0, bytes: 0 }),
    apply: (state, record) => apply(state, record, usage),
    live: (state) => live(state),
    liveBytes: (state) => state.bytes,
  };
}

function apply(state: RetainedState, record: FoldRecord, usage: RetainedUsage): void {
  if (record.value === null) return;
  const input = new ByteReader(record.value, 1);
  const sourceOffset = input.i64();
  if (record.key.length > 0) {
    const kind = input.u8();
    const subject = record.key.toString('utf8');
    if (kind === cleared) applyRetained(state, usage, subject, sourceOffset, null);
    else applyRetained(state, usage, subject, sourceOffset, decode(subject, sourceOffset, input));
  }
  if (sourceOffset >= state.appliedThrough)
    state.appliedThrough = sourceOffset + (record.key.length > 0 ? 1 : 0);
}

/** Sets or (null) clears what a subject retains, unless the state has already seen a later record. */
export function applyRetained(
  state: RetainedState,
  usage: RetainedUsage,
  subject: string,
  sourceOffset: Offset,
  record: RetainedRecord | null,
): void {
  const before = state.records.get(subject);
  if (before !== undefined) {
    if (before.sourceOffset > sourceOffset) return;
    count(state, usage, before, -1);
    if (record === null) state.records.delete(subject);
  }
  if (record !== null) {
    state.records.set(subject, record);
    count(state, usage, record, 1);
  }
  if (sourceOffset >= state.appliedThrough) state.appliedThrough = sourceOffset + 1;
}

function count(state: RetainedState, usage: RetainedUsage, record: RetainedRecord, sign: 1 | -1): void {
  const bytes = record.value.length + record.headers.length + record.subject.length + 64;
  state.bytes += sign * bytes;
  usage.bytes += sign * bytes;
  usage.records += sign;
}

/**
 * The state of the moment of the call. What changes while it is copied is left out: its own copy follows, or, after a
 * crash, the data shard is applied again from `appliedThrough`, so nothing that is yielded may say more than that.
 */
function live(state: RetainedState): Iterable<FoldItem> {
  return copyThrough(state, state.appliedThrough);
}

function* copyThrough(state: RetainedState, through: Offset): Iterable<FoldItem> {
  for (const record of state.records.values()) {
    if (record.sourceOffset < through) yield retainedItem(record);
  }
  yield retainedMarker(through);
}

/** The shard is closed: what it retains is no longer counted here. */
export function forgetUsage(state: RetainedState, usage: RetainedUsage): void {
  usage.records -= state.records.size;
  usage.bytes -= state.bytes;
}

/** The record of the `__retained` shard that sets a subject. */
export function retainedItem(record: RetainedRecord): FoldItem {
  const out = new ByteWriter(record.value.length + record.headers.length + 64);
  out.u8(version).i64(record.sourceOffset).u8(set).i64(record.timestamp).u32(record.headerCount);
  out.bytes(record.headers).bytes(record.value);
  return { key: Buffer.from(record.subject), value: out.view() };
}

/** The record that clears a subject. */
export function retainedClear(subject: string, sourceOffset: Offset): FoldItem {
  const out = new ByteWriter(16).u8(version).i64(sourceOffset).u8(cleared);
  return { key: Buffer.from(subject), value: out.view() };
}

/** The record that says the data shard is reflected below `through`. */
export function retainedMarker(through: Offset): FoldItem {
  return { key: markerKey, value: new ByteWriter(16).u8(version).i64(through).view() };
}

function decode(subject: string, sourceOffset: Offset, input: ByteReader): RetainedRecord {
  const timestamp = input.i64();
  const headerCount = input.u32();
  const headers = Buffer.from(input.bytes() ?? markerKey);
  const value = Buffer.from(input.bytes() ?? markerKey);
  return { subject, sourceOffset, timestamp, headerCount, headers, value };
}

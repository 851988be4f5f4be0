import { ByteReader, RobustError } from '@robustmq/core';
import type { Epoch, JournalUuid, NodeId, SegmentId, ShardId, TopicId } from '@robustmq/core';
import type { BytesErrorCode } from '@robustmq/core';
import type {
  BrokerRecord,
  Hole,
  JournalRecord,
  SegmentRecord,
  SegmentState,
  TopicRecord,
} from '@robustmq/kernel';
import type { Counters, StoredShard } from '../state/tables.ts';
import { CheckedWriter } from './checked-writer.ts';

/**
 * State as key-value pairs: what snapshots and the applied store hold, and what the content hash is over. A segment
 * is a pair of its own, so that a roll does not rewrite a long list. Values begin with a version byte.
 */
export type Pair = readonly [key: string, value: Buffer];

const version = 1;
const holeKinds = ['lost', 'skipped'] as const;
const segmentStates: readonly SegmentState[] = ['open', 'sealed'];
const journalStates: readonly JournalRecord['state'][] = ['up', 'down', 'draining', 'lost'];

export const countersKey = 'counters';

export function countersPair(counters: Counters): Pair {
  const writer = begin(32).u32(counters.nextShard).i64(counters.nextSegment).i64(counters.nextProducer);
  return [countersKey, writer.view()];
}

export function topicPair(topic: TopicRecord): Pair {
  const writer = begin(256).string(topic.tenant).string(topic.name).bool(topic.internal);
  writer.stringMap(topic.config).i64(topic.createdRevision).u32(topic.shards.length);
  for (const shard of topic.shards) writer.u32(shard);
  return [`topic/${topic.id}`, writer.view()];
}

/** A shard without its segments. */
export function shardPair(shard: StoredShard): Pair {
  const writer = begin(128).string(shard.topic).u32(shard.index).u32(shard.owner).u32(shard.ownerEpoch);
  writer.i64(shard.startOffset).i64(shard.offsetLimit).bool(shard.lossAccepted);
  writer.u32(shard.nextSegmentSeq).i64(shard.nextBase).u32(shard.holes.length);
  for (const hole of shard.holes) writer.i64(hole.from).i64(hole.to).u8(holeKinds.indexOf(hole.kind));
  return [`shard/${shard.id}`, writer.view()];
}

export function segmentPair(shard: ShardId, segment: SegmentRecord): Pair {
  const writer = begin(160).u32(segment.seq).i64(segment.baseOffset).u32(segment.writerEpoch);
  writer.u8(segmentStates.indexOf(segment.state)).i64(segment.endEntry).i64(segment.endOffset);
  writer.i64(segment.maxTimestamp).i64(segment.bytes).u32(segment.chainCrc).u32(segment.writeSet.length);
  for (const uuid of segment.writeSet) writer.string(uuid);
  return [`segment/${shard}/${segment.id}`, writer.view()];
}

export function journalPair(journal: JournalRecord): Pair {
  const writer = begin(64).u32(journal.nodeId).i64(journal.bootCounter);
  return [`journal/${journal.uuid}`, writer.u8(journalStates.indexOf(journal.state)).view()];
}

export function brokerPair(broker: BrokerRecord): Pair {
  const writer = begin(128).i64(broker.incarnation).stringMap(broker.addresses);
  return [`broker/${broker.nodeId}`, writer.view()];
}

/** What one pair says. */
export type StoredRecord =
  | { readonly kind: 'counters'; readonly record: Counters }
  | { readonly kind: 'topic'; readonly record: TopicRecord }
  | { readonly kind: 'shard'; readonly record: StoredShard }
  | { readonly kind: 'segment'; readonly shard: ShardId; readonly record: SegmentRecord }
  | { readonly kind: 'journal'; readonly record: JournalRecord }
  | { readonly kind: 'broker'; readonly record: BrokerRecord };

/** Throws a `BytesErrorCode` for anything that the functions above do not write. */
export function decodePair(key: string, value: Uint8Array): StoredRecord {
  const reader = new ByteReader(value);
  if (reader.u8() !== version) throw malformed(key);
  const [kind, id = '', rest = ''] = key.split('/');
  const decoded = decodeKind(reader, kind, id, rest);
  if (decoded === null || reader.remaining !== 0) throw malformed(key);
  return decoded;
}

function decodeKind(
  reader: ByteReader,
  kind: string | undefined,
  id: string,
  rest: string,
): StoredRecord | null {
  switch (kind) {
    case 'counters':
      return {
        kind,
        record: { nextShard: reader.u32(), nextSegment: reader.i64(), nextProducer: reader.i64() },
      };
    case 'topic':
      return { kind, record: decodeTopic(reader, id as TopicId) };
    case 'shard':
      return { kind, record: decodeShard(reader, Number(id) as ShardId) };
    case 'segment':
      return {
        kind,
        shard: Number(id) as ShardId,
        record: decodeSegment(reader, Number(rest) as SegmentId),
      };
    case 'journal': {
      const nodeId = reader.u32() as NodeId;
      const bootCounter = reader.i64();
      const state = member(journalStates, reader.u8());
      return { kind, record: { nodeId, uuid: id as JournalUuid, bootCounter, state } };
    }
    case 'broker': {
      const incarnation = reader.i64();
      return {
        kind,
        record: { nodeId: Number(id) as NodeId, incarnation, addresses: readStringMap(reader) },
      };
    }
    default:
      return null;
  }
}

function decodeTopic(reader: ByteReader, id: TopicId): TopicRecord {
  const tenant = reader.string();
  const name = reader.string();
  const internal = reader.bool();
  const config = readStringMap(reader);
  const createdRevision = reader.i64();
  const shards: ShardId[] = [];
  for (let count = reader.count(4); count > 0; count--) shards.push(reader.u32() as ShardId);
  return { id, tenant, name, internal, config, shards, createdRevision };
}

function decodeShard(reader: ByteReader, id: ShardId): StoredShard {
  const head = {
    id,
    topic: reader.string() as TopicId,
    index: reader.u32(),
    owner: reader.u32() as NodeId,
    ownerEpoch: reader.u32() as Epoch,
    startOffset: reader.i64(),
    offsetLimit: reader.i64(),
    lossAccepted: reader.bool(),
    nextSegmentSeq: reader.u32(),
    nextBase: reader.i64(),
  };
  const holes: Hole[] = [];
  for (let count = reader.count(17); count > 0; count--) {
    holes.push({ from: reader.i64(), to: reader.i64(), kind: member(holeKinds, reader.u8()) });
  }
  return { ...head, segments: [], holes };
}

function decodeSegment(reader: ByteReader, id: SegmentId): SegmentRecord {
  const head = {
    id,
    seq: reader.u32(),
    baseOffset: reader.i64(),
    writerEpoch: reader.u32() as Epoch,
    state: member(segmentStates, reader.u8()),
    endEntry: reader.i64(),
    endOffset: reader.i64(),
    maxTimestamp: reader.i64(),
    bytes: reader.i64(),
    chainCrc: reader.u32(),
  };
  const writeSet: JournalUuid[] = [];
  for (let count = reader.count(4); count > 0; count--) writeSet.push(reader.string() as JournalUuid);
  return { ...head, writeSet };
}

export function readStringMap(reader: ByteReader): Map<string, string> {
  const values = new Map<string, string>();
  for (let count = reader.count(8); count > 0; count--) values.set(reader.string(), reader.string());
  return values;
}

function member<T>(values: readonly T[], at: number): T {
  const value = values[at];
  if (value === undefined) throw malformed('member');
  return value;
}

function begin(bytes: number): CheckedWriter {
  return new CheckedWriter(bytes).u8(version);
}

function malformed(key: string): RobustError<BytesErrorCode> {
  return new RobustError('BYTES_MALFORMED', 'a stored record is not of the expected form', {
    detail: { key },
  });
}

import { ByteReader, RobustError } from '@robustmq/core';
import type { BytesErrorCode, Epoch, JournalUuid, NodeId, SegmentId, ShardId, TopicId } from '@robustmq/core';
import type { CompactedSegment, Hole, MetadataCommand, SealedSegment } from '@robustmq/kernel';
import { CheckedWriter } from './checked-writer.ts';
import { readStringMap } from './pair-codec.ts';

const version = 1;

/** Numbers on disk: a kind keeps its number for ever. */
const kinds = [
  'createTopic',
  'deleteTopic',
  'addShards',
  'configureTopic',
  'registerJournal',
  'startBroker',
  'rollSegment',
  'trimShard',
  'swapSegments',
  'allocateSegments',
  'raiseOffsetLimit',
  'allocateProducerIds',
  'acceptLoss',
] as const satisfies readonly MetadataCommand['kind'][];

type Command<Kind extends MetadataCommand['kind']> = Extract<MetadataCommand, { kind: Kind }>;

/** Version byte, kind, fields. Throws METADATA_CONFLICT for a number that its field cannot hold. */
export function encodeCommand(writer: CheckedWriter, command: MetadataCommand): void {
  writer.u8(version).u8(kinds.indexOf(command.kind));
  switch (command.kind) {
    case 'createTopic':
      writer.string(command.tenant).string(command.name).string(command.id).u32(command.shards);
      writer.bool(command.internal).stringMap(command.config);
      return;
    case 'deleteTopic':
      writer.string(command.topic);
      return;
    case 'addShards':
      writer.string(command.topic).u32(command.shards);
      return;
    case 'configureTopic':
      writer.string(command.topic);
      return writeConfigChanges(writer, command.changes);
    case 'registerJournal':
      writer.u32(command.journal.nodeId).string(command.journal.uuid).i64(command.journal.bootCounter);
      return;
    case 'startBroker':
      writer.u32(command.broker).bool(command.takeAll).stringMap(command.addresses);
      return;
    case 'rollSegment':
      return writeRoll(writer, command);
    case 'trimShard':
      writer.u32(command.shard).i64(command.startOffset);
      return;
    case 'swapSegments':
      return writeSwap(writer, command);
    case 'allocateSegments':
      writer.u32(command.count);
      return;
    case 'raiseOffsetLimit':
      writer.u32(command.shard).u32(command.epoch).i64(command.limit);
      return;
    case 'allocateProducerIds':
      return;
    case 'acceptLoss':
      writer.u32(command.shard);
  }
}

/** Throws a `BytesErrorCode` on bytes that `encodeCommand` of this version does not write. */
export function decodeCommand(bytes: Uint8Array): MetadataCommand {
  const reader = new ByteReader(bytes);
  const found = reader.u8();
  const kind = kinds[reader.u8()];
  if (found !== version || kind === undefined) throw malformed('no command of this version');
  const command = decodeKind(reader, kind);
  if (reader.remaining !== 0) throw malformed('a command is longer than its fields');
  return command;
}

function decodeKind(reader: ByteReader, kind: MetadataCommand['kind']): MetadataCommand {
  switch (kind) {
    case 'createTopic': {
      const names = { tenant: reader.string(), name: reader.string(), id: reader.string() as TopicId };
      const shards = reader.u32();
      return { kind, ...names, shards, internal: reader.bool(), config: readStringMap(reader) };
    }
    case 'deleteTopic':
      return { kind, topic: reader.string() as TopicId };
    case 'addShards':
      return { kind, topic: reader.string() as TopicId, shards: reader.u32() };
    case 'configureTopic':
      return { kind, topic: reader.string() as TopicId, changes: readConfigChanges(reader) };
    case 'registerJournal': {
      const nodeId = reader.u32() as NodeId;
      const uuid = reader.string() as JournalUuid;
      return { kind, journal: { nodeId, uuid, bootCounter: reader.i64() } };
    }
    case 'startBroker': {
      const broker = reader.u32() as NodeId;
      const takeAll = reader.bool();
      return { kind, broker, takeAll, addresses: readStringMap(reader) };
    }
    case 'rollSegment':
      return readRoll(reader);
    case 'trimShard':
      return { kind, shard: reader.u32() as ShardId, startOffset: reader.i64() };
    case 'swapSegments':
      return readSwap(reader);
    case 'allocateSegments':
      return { kind, count: reader.u32() };
    case 'raiseOffsetLimit':
      return { kind, shard: reader.u32() as ShardId, epoch: reader.u32() as Epoch, limit: reader.i64() };
    case 'allocateProducerIds':
      return { kind };
    case 'acceptLoss':
      return { kind, shard: reader.u32() as ShardId };
  }
}

function writeConfigChanges(writer: CheckedWriter, changes: ReadonlyMap<string, string | null>): void {
  writer.u32(changes.size);
  for (const [key, value] of changes) {
    writer.string(key).bool(value !== null);
    if (value !== null) writer.string(value);
  }
}

function readConfigChanges(reader: ByteReader): Map<string, string | null> {
  const changes = new Map<string, string | null>();
  for (let count = reader.count(5); count > 0; count--) {
    const key = reader.string();
    changes.set(key, reader.bool() ? reader.string() : null);
  }
  return changes;
}

function writeRoll(writer: CheckedWriter, command: Command<'rollSegment'>): void {
  const { sealed, hole } = command;
  writer
    .u32(command.shard)
    .u32(command.epoch)
    .bool(command.open)
    .bool(sealed !== null);
  if (sealed !== null) {
    writer.i64(sealed.segment);
    writeEnd(writer, sealed);
  }
  writer.bool(hole !== null);
  if (hole !== null)
    writer
      .i64(hole.from)
      .i64(hole.to)
      .bool(hole.kind === 'lost');
}

function readRoll(reader: ByteReader): Command<'rollSegment'> {
  const shard = reader.u32() as ShardId;
  const epoch = reader.u32() as Epoch;
  const open = reader.bool();
  let sealed: SealedSegment | null = null;
  if (reader.bool()) sealed = { segment: reader.i64() as SegmentId, ...readEnd(reader) };
  let hole: Hole | null = null;
  if (reader.bool()) {
    hole = { from: reader.i64(), to: reader.i64(), kind: reader.bool() ? 'lost' : 'skipped' };
  }
  return { kind: 'rollSegment', shard, epoch, sealed, hole, open };
}

function writeSwap(writer: CheckedWriter, command: Command<'swapSegments'>): void {
  writer.u32(command.shard).u32(command.epoch).u32(command.removed.length);
  for (const id of command.removed) writer.i64(id);
  writer.u32(command.added.length);
  for (const segment of command.added) {
    writer.i64(segment.id).i64(segment.baseOffset).u32(segment.writerEpoch).u32(segment.writeSet.length);
    for (const uuid of segment.writeSet) writer.string(uuid);
    writeEnd(writer, segment);
  }
}

function readSwap(reader: ByteReader): Command<'swapSegments'> {
  const shard = reader.u32() as ShardId;
  const epoch = reader.u32() as Epoch;
  const removed: SegmentId[] = [];
  for (let count = reader.count(8); count > 0; count--) removed.push(reader.i64() as SegmentId);
  const added: CompactedSegment[] = [];
  for (let count = reader.count(60); count > 0; count--) {
    const id = reader.i64() as SegmentId;
    const baseOffset = reader.i64();
    const writerEpoch = reader.u32() as Epoch;
    const writeSet: JournalUuid[] = [];
    for (let members = reader.count(4); members > 0; members--) writeSet.push(reader.string() as JournalUuid);
    added.push({ id, baseOffset, writerEpoch, writeSet, ...readEnd(reader) });
  }
  return { kind: 'swapSegments', shard, epoch, removed, added };
}

type End = Omit<SealedSegment, 'segment'>;

function writeEnd(writer: CheckedWriter, end: End): void {
  writer.i64(end.endEntry).i64(end.endOffset).i64(end.maxTimestamp).i64(end.bytes).u32(end.chainCrc);
}

function readEnd(reader: ByteReader): End {
  return {
    endEntry: reader.i64(),
    endOffset: reader.i64(),
    maxTimestamp: reader.i64(),
    bytes: reader.i64(),
    chainCrc: reader.u32(),
  };
}

function malformed(message: string): RobustError<BytesErrorCode> {
  return new RobustError('BYTES_MALFORMED', message);
}

import type { DiskFile, Epoch, Offset, SegmentId, ShardId } from '@robustmq/core';
import { BlockIndex } from './block-index.ts';
import type { CachedBlock } from './block-cache.ts';
import type { BlockLoad } from './block-loader.ts';
import { MemoryTail } from './memory-tail.ts';
import type { EntryNumbers } from './tail-entry.ts';

/** The end of a prefix of a segment's entries. */
export interface SegmentEnd {
  /** Last entry id, -1 when empty. */
  entry: number;
  offset: Offset;
  maxTimestamp: number;
  bytes: number;
  /** Checksum of the last entry, 0 when empty. */
  crc: number;
  /** The last entry is a control entry. */
  control: boolean;
}

export interface SegmentIdentity {
  readonly shard: ShardId;
  readonly id: SegmentId;
  readonly epoch: Epoch;
  readonly baseOffset: Offset;
  /** Durability `memory`: never in the write-ahead log and never in a file. */
  readonly memory: boolean;
}

export type SegmentPhase =
  /** Takes appends. */
  | 'open'
  /** Metadata sealed it: no more appends; its footer is written when everything is in the file. */
  | 'sealing'
  /** The file is whole, with footer. */
  | 'sealed'
  | 'deleted';

/** One segment as this journal has it. */
export class Segment {
  readonly shard: ShardId;
  readonly id: SegmentId;
  readonly epoch: Epoch;
  readonly baseOffset: Offset;
  readonly memory: boolean;
  phase: SegmentPhase = 'open';
  /** Everything received. */
  readonly end: SegmentEnd;
  /** What is in the file and durable there, the name included. */
  stored: Readonly<SegmentEnd>;
  /** Last entry that is durable in the write-ahead log or in the file. */
  durableEntry = -1;
  tail: MemoryTail;
  /** Null: sealed, and not read since it was dropped from the cache of indexes. */
  index: BlockIndex | null;
  /** The file's name exists and is durable. */
  named = false;
  /** The file came from the pool: it is open for durable writes, and a sync after them is not needed. */
  durableWrites = false;
  /** Acknowledged offsets below this are lost: a damaged log held more than `end`. 0 when nothing is. */
  lostTo: Offset = 0;
  /** Offsets at or above this were never committed, metadata says; readers stop here. */
  sealedEnd: Offset = Number.MAX_SAFE_INTEGER;
  /** Found in metadata at least once. */
  listed = false;
  /** After a restart: what lies in the file behind `end` was not looked at yet. */
  unprobed = false;
  /** Blocks in the cache, and those on their way into it. */
  readonly blocks = new Map<number, CachedBlock>();
  readonly loading = new Map<number, BlockLoad>();
  handle: SegmentHandle | null = null;
  /** Reads under way, which need the index: it stays until they have ended. */
  readers = 0;
  /** Fields of whoever walks the segments: acknowledgement, sweeping. */
  ackRound = 0;
  queuedLarge = false;
  dirtySince = 0;
  dirtyGeneration = 0;

  constructor(identity: SegmentIdentity, blockBytes: number) {
    this.shard = identity.shard;
    this.id = identity.id;
    this.epoch = identity.epoch;
    this.baseOffset = identity.baseOffset;
    this.memory = identity.memory;
    this.end = emptyEnd(identity.baseOffset);
    this.stored = emptyEnd(identity.baseOffset);
    this.tail = this.newTail(identity.baseOffset);
    this.index = new BlockIndex(blockBytes);
  }

  /** An empty tail that covers what comes from here on. */
  newTail(coversFrom: Offset): MemoryTail {
    return new MemoryTail(coversFrom, this.memory ? 'unwritten' : 'written');
  }

  get unstoredBytes(): number {
    return this.end.bytes - this.stored.bytes;
  }

  /** Entries that may be swept now: behind the file's end and durable in the log. */
  get sweepableEntries(): number {
    return this.durableEntry - this.stored.entry;
  }

  /** The generation of the log that holds the first entry which is in no file; infinite when all are. */
  get oldestGeneration(): number {
    const first = this.tail.indexOf(this.stored.entry + 1);
    return first < 0 ? Number.POSITIVE_INFINITY : this.tail.generationAt(first);
  }

  /** Takes the next entry in: the caller has checked id and chain. */
  push(entry: EntryNumbers, parts: readonly Buffer[]): void {
    const end = this.end;
    this.tail.push(entry, parts);
    // A sealed file's index may have been dropped; an open segment always has one.
    this.index?.add(entry.baseOffset, entry.bytes, entry.maxTimestamp, entry.isControl);
    advance(end, entry);
  }
}

/** An open file of a segment, shared by its users. */
export interface SegmentHandle {
  readonly file: Promise<DiskFile>;
  users: number;
}

export function emptyEnd(baseOffset: Offset): SegmentEnd {
  return { entry: -1, offset: baseOffset, maxTimestamp: -1, bytes: 0, crc: 0, control: false };
}

/** Moves an end behind `entry`. */
export function advance(end: SegmentEnd, entry: EntryNumbers): void {
  end.entry = entry.entryId;
  end.offset = entry.endOffset;
  if (entry.maxTimestamp > end.maxTimestamp) end.maxTimestamp = entry.maxTimestamp;
  end.bytes = entry.position + entry.bytes;
  end.crc = entry.crc;
  end.control = entry.isControl;
}

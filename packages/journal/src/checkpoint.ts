import type { Epoch, Offset, SegmentId, ShardId } from '@robustmq/core';
import { ByteReader, ByteWriter } from '@robustmq/core';
import type { SegmentEnd } from './segment.ts';

/*
 * What each file of the write-ahead log begins with: every fence, and every segment with what of it is durable in its
 * file. Entries behind that are in the log from `oldestGeneration` on. Part of the disk format; begins with a version.
 */
const version = 1;
const rowBytesMin = 70;
const nothing = Buffer.alloc(0);

export interface CheckpointSegment {
  readonly shard: ShardId;
  readonly id: SegmentId;
  readonly epoch: Epoch;
  readonly baseOffset: Offset;
  /** The file is whole, with footer. */
  readonly sealed: boolean;
  readonly stored: SegmentEnd;
  readonly lostTo: Offset;
  /** The blocks in the file, so that an open segment is read without a scan; none for a sealed one. */
  readonly blocks: readonly CheckpointBlock[];
}

export interface CheckpointBlock {
  readonly firstOffset: Offset;
  readonly position: number;
  readonly maxTimestamp: number;
  readonly flags: number;
}

export interface Checkpoint {
  readonly oldestGeneration: number;
  readonly fences: readonly { readonly shard: ShardId; readonly epoch: Epoch }[];
  readonly segments: readonly CheckpointSegment[];
}

export function encodeCheckpoint(checkpoint: Checkpoint): Buffer {
  const out = new ByteWriter(4096).u8(version).i64(checkpoint.oldestGeneration);
  out.u32(checkpoint.fences.length);
  for (const fence of checkpoint.fences) out.u32(fence.shard).u32(fence.epoch);
  out.u32(checkpoint.segments.length);
  for (const segment of checkpoint.segments) writeSegment(out, segment);
  return out.finish();
}

/** Throws `BYTES_*` when the bytes are of no version that this code knows. */
export function decodeCheckpoint(bytes: Buffer): Checkpoint {
  const at = new ByteReader(bytes);
  if (at.u8() !== version) throw new RangeError('the checkpoint was written by another version');
  const oldestGeneration = at.i64();
  const fences: { shard: ShardId; epoch: Epoch }[] = [];
  for (let left = at.count(8); left > 0; left--) {
    fences.push({ shard: at.u32() as ShardId, epoch: at.u32() as Epoch });
  }
  const segments: CheckpointSegment[] = [];
  for (let left = at.count(rowBytesMin); left > 0; left--) segments.push(readSegment(at));
  return { oldestGeneration, fences, segments };
}

/**
 * The generation from which entries are needed; for the log, which does not look into a checkpoint. Throws
 * `BYTES_TRUNCATED` when there is no chunk.
 */
export function oldestGenerationOf(chunks: readonly Uint8Array[]): number {
  return new ByteReader(chunks[0] ?? nothing, 1).i64();
}

function writeSegment(out: ByteWriter, segment: CheckpointSegment): void {
  const { stored } = segment;
  out
    .u32(segment.shard)
    .i64(segment.id)
    .u32(segment.epoch)
    .i64(segment.baseOffset)
    .bool(segment.sealed)
    .i32(stored.entry)
    .i64(stored.offset)
    .i64(stored.maxTimestamp)
    .i64(stored.bytes)
    .u32(stored.crc)
    .bool(stored.control)
    .i64(segment.lostTo)
    .u32(segment.blocks.length);
  for (const block of segment.blocks) {
    out.i64(block.firstOffset).u32(block.position).i64(block.maxTimestamp).u8(block.flags);
  }
}

function readSegment(at: ByteReader): CheckpointSegment {
  const shard = at.u32() as ShardId;
  const id = at.i64() as SegmentId;
  const epoch = at.u32() as Epoch;
  const baseOffset = at.i64();
  const sealed = at.bool();
  const stored = {
    entry: at.i32(),
    offset: at.i64(),
    maxTimestamp: at.i64(),
    bytes: at.i64(),
    crc: at.u32(),
    control: at.bool(),
  };
  const lostTo = at.i64();
  const blocks: CheckpointBlock[] = [];
  for (let left = at.count(21); left > 0; left--) {
    blocks.push({ firstOffset: at.i64(), position: at.u32(), maxTimestamp: at.i64(), flags: at.u8() });
  }
  return { shard, id, epoch, baseOffset, sealed, stored, lostTo, blocks };
}

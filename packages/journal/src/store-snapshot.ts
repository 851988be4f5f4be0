import type { Checkpoint, CheckpointBlock, CheckpointSegment } from './checkpoint.ts';
import type { Segment } from './segment.ts';
import type { SegmentStore } from './segment-store.ts';

/** What the store knows to be durable in files, as the log's next checkpoint says it. */
export function snapshotStore(store: SegmentStore, oldestGeneration: number): Checkpoint {
  const fences: Checkpoint['fences'][number][] = [];
  const segments: CheckpointSegment[] = [];
  for (const shard of store.shards.values()) {
    fences.push({ shard: shard.id, epoch: shard.fence });
    for (const segment of shard.segments.values()) {
      if (!segment.memory) segments.push(snapshotSegment(segment));
    }
  }
  return { oldestGeneration, fences, segments };
}

function snapshotSegment(segment: Segment): CheckpointSegment {
  const sealed = segment.phase === 'sealed';
  return {
    shard: segment.shard,
    id: segment.id,
    epoch: segment.epoch,
    baseOffset: segment.baseOffset,
    sealed,
    stored: segment.stored,
    lostTo: segment.lostTo,
    blocks: sealed ? [] : storedBlocks(segment),
  };
}

function storedBlocks(segment: Segment): CheckpointBlock[] {
  const blocks: CheckpointBlock[] = [];
  const index = segment.index;
  if (index === null) return blocks;
  for (let block = 0; block < index.blocks && index.position[block]! < segment.stored.bytes; block++) {
    blocks.push({
      firstOffset: index.firstOffset[block]!,
      position: index.position[block]!,
      maxTimestamp: index.maxTimestamp[block]!,
      // Filters of an open segment are in memory only, and are made again when someone asks.
      flags: index.flags[block]! & 1,
    });
  }
  return blocks;
}

import type { Epoch, SegmentId, ShardId } from '@robustmq/core';
import type { JournalCounters } from './counters.ts';
import { DirtySegments } from './dirty-segments.ts';
import type { JournalLimits } from './limits.ts';
import type { MemoryTail } from './memory-tail.ts';
import type { SegmentIdentity } from './segment.ts';
import { Segment } from './segment.ts';
import type { EntryNumbers } from './tail-entry.ts';

/** What the journal knows of a shard: its fence, and the segments it has of it. */
export class ShardState {
  readonly id: ShardId;
  /** Highest epoch seen; lower ones are refused. */
  fence: Epoch;
  readonly segments = new Map<SegmentId, Segment>();
  /** Metadata has it no more: it goes with its last segment. */
  isGone = false;

  constructor(id: ShardId, fence: Epoch) {
    this.id = id;
    this.fence = fence;
  }
}

/** All shards and segments of the journal, and the sums that bounds are about. */
export class SegmentStore {
  readonly shards = new Map<ShardId, ShardState>();
  readonly dirty = new DirtySegments();
  readonly #limits: JournalLimits;
  readonly #counters: JournalCounters;
  /** Entries kept after they were written, oldest first, in runs of one segment. */
  #written: WrittenRun[] = [];
  #writtenHead = 0;
  /** Memory-class segments that hold entries, oldest first. */
  readonly #memory = new Set<Segment>();

  constructor(limits: JournalLimits, counters: JournalCounters) {
    this.#limits = limits;
    this.#counters = counters;
  }

  shard(id: ShardId): ShardState {
    let shard = this.shards.get(id);
    if (shard === undefined) {
      shard = new ShardState(id, 0 as Epoch);
      this.shards.set(id, shard);
    }
    return shard;
  }

  find(shard: ShardId, segment: SegmentId): Segment | undefined {
    return this.shards.get(shard)?.segments.get(segment);
  }

  create(identity: SegmentIdentity): Segment {
    const segment = new Segment(identity, this.#limits.blockBytes);
    this.shard(identity.shard).segments.set(identity.id, segment);
    return segment;
  }

  /** Takes in a segment that was made elsewhere. */
  adopt(segment: Segment): void {
    this.shard(segment.shard).segments.set(segment.id, segment);
  }

  /** Forgets a shard that is deleted, as soon as nothing of it is left. */
  forget(id: ShardId): void {
    const shard = this.shards.get(id);
    if (shard === undefined) return;
    shard.isGone = true;
    this.#dropIfEmpty(shard);
  }

  *segments(): Generator<Segment> {
    for (const shard of this.shards.values()) yield* shard.segments.values();
  }

  /** Takes an entry of a segment into memory. */
  push(segment: Segment, entry: EntryNumbers, parts: readonly Buffer[], now: number): void {
    segment.push(entry, parts);
    if (segment.memory) {
      this.#memory.add(segment);
      this.#counters.memoryBytes += entry.bytes;
      this.#boundMemory();
      return;
    }
    this.#counters.tailBytes += entry.bytes;
    this.dirty.add(segment, now);
  }

  /** The entries up to `segment.stored` are in its file: `bytes` of them since the last call. */
  wrote(segment: Segment, entries: number, bytes: number, now: number): void {
    this.#counters.tailBytes -= bytes;
    this.dirty.delete(segment);
    if (segment.unstoredBytes > 0) this.dirty.add(segment, now);
    if (entries === 0) return;
    this.#written.push({ segment, entries, bytes });
    this.#counters.tailCacheBytes += bytes;
    while (this.#counters.tailCacheBytes > this.#limits.tailCacheBytes) {
      const run = this.#written[this.#writtenHead];
      if (run === undefined) break;
      this.#writtenHead++;
      this.#counters.tailCacheBytes -= run.bytes;
      if (run.segment.phase !== 'deleted') for (let i = 0; i < run.entries; i++) run.segment.tail.shift();
    }
    if (this.#writtenHead > 256 && this.#writtenHead * 2 > this.#written.length) {
      this.#written = this.#written.slice(this.#writtenHead);
      this.#writtenHead = 0;
    }
  }

  /** Forgets a segment; what it had in memory is free. */
  remove(segment: Segment): void {
    segment.phase = 'deleted';
    if (segment.memory) {
      this.#counters.memoryBytes -= emptied(segment.tail);
      this.#memory.delete(segment);
    } else if (this.dirty.delete(segment)) {
      this.#counters.tailBytes -= segment.unstoredBytes;
    }
    emptied(segment.tail);
    segment.tail = segment.newTail(segment.end.offset);
    const shard = this.shards.get(segment.shard);
    if (shard === undefined) return;
    shard.segments.delete(segment.id);
    this.#dropIfEmpty(shard);
  }

  #dropIfEmpty(shard: ShardState): void {
    if (shard.isGone && shard.segments.size === 0) this.shards.delete(shard.id);
  }

  /** Drops the oldest entries of the oldest segment: owners trim by their own bounds long before. */
  #boundMemory(): void {
    for (const segment of this.#memory) {
      while (this.#counters.memoryBytes > this.#limits.memoryBytes) {
        const bytes = segment.tail.shift();
        if (bytes === 0) break;
        this.#counters.memoryBytes -= bytes;
        this.#counters.memoryDropped++;
      }
      if (segment.tail.length > 0) return;
      this.#memory.delete(segment);
    }
  }
}

/** Lets all entries of a tail leave; returns their bytes. */
function emptied(tail: MemoryTail): number {
  let bytes = 0;
  while (tail.length > 0) bytes += tail.shift();
  return bytes;
}

interface WrittenRun {
  readonly segment: Segment;
  readonly entries: number;
  readonly bytes: number;
}

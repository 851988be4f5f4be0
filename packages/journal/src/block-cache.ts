import type { Offset } from '@robustmq/core';
import type { StoredEntry } from '@robustmq/kernel';
import type { JournalCounters } from './counters.ts';
import type { Segment } from './segment.ts';
import type { SlabPool } from './slab-pool.ts';

/** Blocks that were read once have this part of the cache: a reader of a whole log must not empty the rest. */
const freshShare = 1 / 8;
/** Of that part, what was read ahead and waits for its reader. */
const aheadShare = 1 / 2;

/** Offsets `[from, to)` of a block whose bytes are damaged. */
export interface LostRange {
  readonly from: Offset;
  readonly to: Offset;
}

export interface BlockBytes {
  readonly segment: Segment;
  readonly block: number;
  /** Less than the index says when an open segment's last block has grown since. */
  readonly bytes: number;
  /** What the entries are views of; null when there was nothing to read. */
  readonly slab: Buffer | null;
}

/** A block as it was read and verified. */
export class CachedBlock {
  readonly segment: Segment;
  readonly block: number;
  readonly bytes: number;
  /** What it takes of the memory. */
  readonly memoryBytes: number;
  /** Null: there is none, or it went back to the pool, and the entries are void. */
  slab: Buffer | null;
  readonly entries: readonly StoredEntry[];
  readonly lost: readonly LostRange[];
  /** Who looks at its bytes for a time: while there is one, the slab is not used again. */
  leases = 0;
  /** Somebody was given its bytes for good: the slab is never used again. */
  isGiven = false;
  /** It was read before anyone asked. */
  isAhead = false;
  /** Where the cache has it; null: not, or not any more. */
  list: BlockList | null = null;
  newer: CachedBlock | null = null;
  older: CachedBlock | null = null;

  constructor(
    { segment, block, bytes, slab }: BlockBytes,
    entries: readonly StoredEntry[],
    lost: readonly LostRange[],
  ) {
    this.segment = segment;
    this.block = block;
    this.bytes = bytes;
    this.memoryBytes = slab?.length ?? bytes;
    this.slab = slab;
    this.entries = entries;
    this.lost = lost;
  }
}

/**
 * Blocks read from disk; a lookup is `segment.blocks.get`. What is read the first time passes through a small queue,
 * so that one pass over a log goes through few buffers, which the processor still has in its own cache. What is read
 * again soon after it left the queue is kept, least recently used first out.
 *
 * A block's slab goes back to the pool when the block has left the cache, nobody holds a lease, and its bytes were
 * never given away for good.
 */
export class BlockCache {
  readonly #bytesMax: number;
  readonly #counters: JournalCounters;
  readonly #slabs: SlabPool;
  readonly #fresh = new BlockList();
  readonly #kept = new BlockList();
  /** Bytes that have passed the queue so far. */
  #passedBytes = 0;
  /** Bytes that are being read before anyone asked, or were read and wait for their reader. */
  aheadBytes = 0;

  constructor(bytesMax: number, counters: JournalCounters, slabs: SlabPool) {
    this.#bytesMax = bytesMax;
    this.#counters = counters;
    this.#slabs = slabs;
  }

  /** Whether `bytes` more may be read before anyone asks for them. */
  hasRoomAhead(bytes: number): boolean {
    return this.aheadBytes + bytes <= this.#bytesMax * freshShare * aheadShare;
  }

  add(block: CachedBlock): void {
    const { segment } = block;
    if (segment.phase === 'deleted') {
      this.reached(block);
      return this.#free(block);
    }
    const before = segment.blocks.get(block.block);
    if (before !== undefined) this.remove(before);
    segment.blocks.set(block.block, block);
    const leftAt = segment.index?.leftAt[block.block] ?? -1;
    const isKept = leftAt >= 0 && this.#passedBytes - leftAt <= this.#bytesMax;
    (isKept ? this.#kept : this.#fresh).push(block);
    this.#counters.blockCacheBytes += block.memoryBytes;
    this.shrink();
  }

  touch(block: CachedBlock): void {
    this.reached(block);
    if (block.list !== this.#kept || block === this.#kept.newest) return;
    this.#kept.unlink(block);
    this.#kept.push(block);
  }

  remove(block: CachedBlock): void {
    const { index, blocks } = block.segment;
    if (block.list === this.#fresh) {
      this.#passedBytes += block.memoryBytes;
      if (index !== null && block.block < index.blocks) index.leftAt[block.block] = this.#passedBytes;
    }
    block.list?.unlink(block);
    blocks.delete(block.block);
    this.#counters.blockCacheBytes -= block.memoryBytes;
    this.reached(block);
    this.#free(block);
  }

  /** What was read ahead has found its reader, or goes without. */
  reached(block: CachedBlock): void {
    if (!block.isAhead) return;
    block.isAhead = false;
    this.aheadBytes -= block.bytes;
  }

  /** Ends one lease of a block. */
  release(block: CachedBlock): void {
    block.leases--;
    this.#free(block);
  }

  dropSegment(segment: Segment): void {
    for (const block of [...segment.blocks.values()]) this.remove(block);
  }

  /** The entries kept after writing count against the same bound. */
  shrink(): void {
    const bound = this.#bytesMax - this.#counters.tailCacheBytes;
    const fresh = this.#fresh;
    const freshMax = this.#bytesMax * freshShare;
    while (fresh.oldest !== null && fresh.oldest !== fresh.newest && fresh.bytes > freshMax) {
      this.remove(fresh.oldest);
    }
    while (this.#counters.blockCacheBytes > bound) {
      const oldest = this.#kept.oldest ?? fresh.oldest;
      if (oldest === null || (oldest === fresh.newest && this.#kept.oldest === null)) return;
      this.remove(oldest);
    }
  }

  #free(block: CachedBlock): void {
    if (block.list !== null || block.leases > 0 || block.isGiven || block.slab === null) return;
    this.#slabs.give(block.slab);
    block.slab = null;
  }
}

/** Blocks in the order they came or were used. */
export class BlockList {
  newest: CachedBlock | null = null;
  oldest: CachedBlock | null = null;
  bytes = 0;

  push(block: CachedBlock): void {
    block.list = this;
    block.older = this.newest;
    if (this.newest !== null) this.newest.newer = block;
    this.newest = block;
    this.oldest ??= block;
    this.bytes += block.memoryBytes;
  }

  unlink(block: CachedBlock): void {
    if (block.older === null) this.oldest = block.newer;
    else block.older.newer = block.newer;
    if (block.newer === null) this.newest = block.older;
    else block.newer.older = block.older;
    block.list = null;
    block.newer = null;
    block.older = null;
    this.bytes -= block.memoryBytes;
  }
}

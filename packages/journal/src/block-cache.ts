import type { Offset } from '@robustmq/core';
import type { StoredEntry } from '@robustmq/kernel';
import type { JournalCounters } from './counters.ts';
import type { Segment } from './segment.ts';

/** Offsets `[from, to)` of a block whose bytes are damaged. */
export interface LostRange {
  readonly from: Offset;
  readonly to: Offset;
}

/** A block as it was read and verified. */
export class CachedBlock {
  readonly segment: Segment;
  readonly block: number;
  /** Less than the index says when an open segment's last block has grown since. */
  readonly bytes: number;
  readonly entries: readonly StoredEntry[];
  readonly lost: readonly LostRange[];
  newer: CachedBlock | null = null;
  older: CachedBlock | null = null;

  constructor(
    place: { readonly segment: Segment; readonly block: number; readonly bytes: number },
    entries: readonly StoredEntry[],
    lost: readonly LostRange[],
  ) {
    this.segment = place.segment;
    this.block = place.block;
    this.bytes = place.bytes;
    this.entries = entries;
    this.lost = lost;
  }
}

/** Blocks read from disk, least recently used first out; a lookup is `segment.blocks.get`. */
export class BlockCache {
  readonly #bytesMax: number;
  readonly #counters: JournalCounters;
  #newest: CachedBlock | null = null;
  #oldest: CachedBlock | null = null;

  constructor(bytesMax: number, counters: JournalCounters) {
    this.#bytesMax = bytesMax;
    this.#counters = counters;
  }

  add(block: CachedBlock): void {
    const before = block.segment.blocks.get(block.block);
    if (before !== undefined) this.remove(before);
    block.segment.blocks.set(block.block, block);
    this.#counters.blockCacheBytes += block.bytes;
    this.#link(block);
    this.shrink();
  }

  touch(block: CachedBlock): void {
    if (block === this.#newest) return;
    this.#unlink(block);
    this.#link(block);
  }

  remove(block: CachedBlock): void {
    this.#unlink(block);
    block.segment.blocks.delete(block.block);
    this.#counters.blockCacheBytes -= block.bytes;
  }

  dropSegment(segment: Segment): void {
    for (const block of [...segment.blocks.values()]) this.remove(block);
  }

  /** The entries kept after writing count against the same bound. */
  shrink(): void {
    const bound = this.#bytesMax - this.#counters.tailCacheBytes;
    while (this.#oldest !== null && this.#oldest !== this.#newest && this.#counters.blockCacheBytes > bound) {
      this.remove(this.#oldest);
    }
  }

  #link(block: CachedBlock): void {
    block.older = this.#newest;
    if (this.#newest !== null) this.#newest.newer = block;
    this.#newest = block;
    this.#oldest ??= block;
  }

  #unlink(block: CachedBlock): void {
    if (block.older === null) this.#oldest = block.newer;
    else block.older.newer = block.newer;
    if (block.newer === null) this.#newest = block.older;
    else block.newer.older = block.older;
    block.newer = null;
    block.older = null;
  }
}

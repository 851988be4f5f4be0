import type { Offset } from '@robustmq/core';

/** Bits of a block's `flags`. */
export const blockFlag = {
  /** The block before ends with a control entry of the same offset, so a search for that offset starts there. */
  continued: 1,
  /** The filter was built; with no filter bytes it is one that matches all. Without this bit nobody has tried. */
  filtered: 2,
} as const;

/**
 * Where the blocks of one segment lie: parallel columns, one row a block. Blocks are back to back, so the length of
 * one is the distance to the next. The last block of an open segment grows.
 */
export class BlockIndex {
  readonly firstOffset: Offset[] = [];
  readonly position: number[] = [];
  /** Highest timestamp from the start of the segment to the end of the block. */
  readonly maxTimestamp: number[] = [];
  readonly flags: number[] = [];
  readonly filters: (Uint32Array | null)[] = [];
  /** One filter over the whole segment, asked first; null matches all. */
  segmentFilter: Uint32Array | null = null;
  /** Blocks whose bytes were verified since the process started. */
  readonly verified: boolean[] = [];
  /** When blocks last left the cache's queue of fresh ones, by its own count; -1: never. */
  readonly leftAt: number[] = [];
  /** Whether `filters` is complete: a footer's filters are read apart from its index. */
  filtersLoaded = true;
  /** Bytes of all entries. */
  dataBytes = 0;
  /** Whether the last entry is a control entry, which takes no offset. */
  endsWithControl = false;
  readonly #blockBytes: number;

  constructor(blockBytes: number) {
    this.#blockBytes = blockBytes;
  }

  get blocks(): number {
    return this.position.length;
  }

  /** Notes the next entry of the segment. */
  add(baseOffset: Offset, bytes: number, maxTimestamp: number, control: boolean): void {
    const last = this.blocks - 1;
    if (last < 0 || this.dataBytes - this.position[last]! + bytes > this.#blockBytes) {
      const before = last < 0 ? -1 : this.maxTimestamp[last]!;
      this.addBlock(
        baseOffset,
        Math.max(before, maxTimestamp),
        this.endsWithControl ? blockFlag.continued : 0,
      );
    } else if (maxTimestamp > this.maxTimestamp[last]!) {
      this.maxTimestamp[last] = maxTimestamp;
    }
    this.dataBytes += bytes;
    this.endsWithControl = control;
  }

  /** Opens a block at the end of the data. */
  addBlock(firstOffset: Offset, maxTimestamp: number, flags: number): void {
    this.firstOffset.push(firstOffset);
    this.position.push(this.dataBytes);
    this.maxTimestamp.push(maxTimestamp);
    this.flags.push(flags);
    this.filters.push(null);
    this.verified.push(false);
    this.leftAt.push(-1);
  }

  end(block: number): number {
    return this.position[block + 1] ?? this.dataBytes;
  }

  bytes(block: number): number {
    return this.end(block) - this.position[block]!;
  }

  /** The block where a search for `offset` starts: the last one that does not begin behind it, or the first. */
  find(offset: Offset): number {
    const firstOffset = this.firstOffset;
    let low = 0;
    let high = firstOffset.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >>> 1;
      if (firstOffset[middle]! <= offset) low = middle;
      else high = middle - 1;
    }
    while (low > 0 && firstOffset[low] === offset && (this.flags[low]! & blockFlag.continued) !== 0) low--;
    return low;
  }

  /** The block that holds byte `position`. */
  blockAt(position: number): number {
    let low = 0;
    let high = this.blocks - 1;
    while (low < high) {
      const middle = (low + high + 1) >>> 1;
      if (this.position[middle]! <= position) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  /** The first block up to whose end some timestamp is at or above `timestamp`; `blocks` when there is none. */
  findTimestamp(timestamp: number): number {
    let low = 0;
    let high = this.blocks;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.maxTimestamp[middle]! >= timestamp) high = middle;
      else low = middle + 1;
    }
    return low;
  }

  isFiltered(block: number): boolean {
    return (this.flags[block]! & blockFlag.filtered) !== 0;
  }

  setFilter(block: number, filter: Uint32Array | null): void {
    this.filters[block] = filter;
    this.flags[block] = this.flags[block]! | blockFlag.filtered;
  }

  /** Memory that the columns and filters take, roughly. */
  memoryBytes(): number {
    let bytes = 256 + this.blocks * 64 + (this.segmentFilter?.byteLength ?? 0);
    for (const filter of this.filters) bytes += filter?.byteLength ?? 0;
    return bytes;
  }
}

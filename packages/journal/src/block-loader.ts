import { assert, RobustError } from '@robustmq/core';
import type { DiskFile, Logger } from '@robustmq/core';
import { BlockFilterBuilder } from './block-filter.ts';
import type { BlockCache } from './block-cache.ts';
import { CachedBlock } from './block-cache.ts';
import type { BlockIndex } from './block-index.ts';
import type { JournalCounters } from './counters.ts';
import { entryTokens } from './entry-tokens.ts';
import { segmentUnknown } from './errors.ts';
import type { IndexLoader } from './index-loader.ts';
import type { Segment } from './segment.ts';
import type { SegmentFiles } from './segment-files.ts';
import type { SlabPool } from './slab-pool.ts';
import { parseBlock } from './block-parser.ts';

export interface BlockLoaderOptions {
  readonly files: SegmentFiles;
  readonly cache: BlockCache;
  readonly slabs: SlabPool;
  readonly indexes: IndexLoader;
  readonly counters: JournalCounters;
  readonly logger: Logger;
}

const nothing = Buffer.alloc(0);

/** A block on its way into memory, and how many wait for it. */
export interface BlockLoad {
  readonly done: Promise<CachedBlock>;
  waiters: number;
}

/** Reads blocks into the cache. A block is verified whole at its first touch in this process. */
export class BlockLoader {
  readonly #options: BlockLoaderOptions;
  readonly #filters = new BlockFilterBuilder();

  constructor(options: BlockLoaderOptions) {
    this.#options = options;
  }

  /**
   * A block from the cache, or the one its reader has `loaded`; null unless it has all that is in the file by now.
   */
  cached(segment: Segment, block: number, loaded: CachedBlock | null = null): CachedBlock | null {
    const { index } = segment;
    const bytes = index === null ? 0 : storedBytes(segment, index, block);
    const found = segment.blocks.get(block);
    if (found !== undefined && found.bytes >= bytes) return found;
    return loaded?.block === block && loaded.bytes >= bytes ? loaded : null;
  }

  /** A block from the cache or the file. Many readers of one block share one read. Each has a lease of what it gets, and ends it. */
  load(segment: Segment, block: number): Promise<CachedBlock> {
    const found = this.cached(segment, block);
    if (found !== null) {
      found.leases++;
      return Promise.resolve(found);
    }
    const load = segment.loading.get(block) ?? this.#begin(segment, block, false);
    load.waiters++;
    return load.done;
  }

  /** Reads a block that is likely to be wanted next, unless it is there, or much is there that nobody wanted yet. */
  loadAhead(segment: Segment, block: number): void {
    const { index } = segment;
    if (index === null || segment.blocks.has(block) || segment.loading.has(block)) return;
    if (!this.#options.cache.hasRoomAhead(index.bytes(block))) return;
    // Whoever needs the block meets the error again, and with a reader to tell.
    this.#begin(segment, block, true).done.catch(() => undefined);
  }

  /** Notes that a block was used. */
  touch(block: CachedBlock): void {
    if (block.list !== null) this.#options.cache.touch(block);
  }

  /** Ends a lease of a block. */
  release(block: CachedBlock): void {
    this.#options.cache.release(block);
  }

  #begin(segment: Segment, block: number, isAhead: boolean): BlockLoad {
    // The cache of indexes may drop it while the block is being read.
    const { index } = segment;
    assert(index !== null, 'a block is found by its index');
    const { files, cache } = this.#options;
    const place = { segment, index, block };
    // More may be in the file when the read is over: this block ends where it ended at the beginning.
    const expected = storedBytes(segment, index, block);
    if (isAhead) cache.aheadBytes += expected;
    const done = files
      .use('read', segment, (file) => this.#read(file, place, expected))
      .catch((error: unknown) => {
        if (error instanceof RobustError && error.code === 'DISK_NOT_FOUND') {
          if (segment.phase !== 'deleted') return this.#parse(place, { slab: null, got: 0, expected });
          error = segmentUnknown({ shard: segment.shard, segment: segment.id });
        }
        if (isAhead) cache.aheadBytes -= expected;
        segment.loading.delete(block);
        throw error;
      })
      .then((found) => {
        // From here on nobody may join: without a lease it is used again as soon as the cache drops it.
        segment.loading.delete(block);
        found.leases = load.waiters;
        found.isAhead = isAhead;
        cache.add(found);
        if (load.waiters > 0) cache.reached(found);
        return found;
      });
    const load: BlockLoad = { done, waiters: 0 };
    segment.loading.set(block, load);
    return load;
  }

  /** Builds the filter of a block of a sealed segment that nobody could build while it was in memory. */
  addFilter(segment: Segment, found: CachedBlock): void {
    const index = segment.index;
    if (index === null || segment.phase !== 'sealed' || index.isFiltered(found.block)) return;
    // A block that was read while it grew would deny what came after.
    if (found.lost.length > 0 || found.bytes < index.bytes(found.block)) return;
    let all = true;
    for (const entry of found.entries) all &&= entryTokens(entry.payload, entry.flags, this.#filters);
    const filter = this.#filters.finish();
    index.setFilter(found.block, all ? filter : null);
    this.#options.indexes.keep(segment);
  }

  async #read(file: DiskFile, place: BlockPlace, expected: number): Promise<CachedBlock> {
    const { slabs, counters } = this.#options;
    const slab = slabs.take(expected);
    try {
      const got = await file.pread('read', slab.subarray(0, expected), place.index.position[place.block]!);
      counters.blocksRead++;
      return this.#parse(place, { slab, got, expected });
    } catch (error) {
      slabs.give(slab);
      throw error;
    }
  }

  #parse({ segment, index, block }: BlockPlace, { slab, got, expected }: BlockRead): CachedBlock {
    const { counters, logger } = this.#options;
    const bytes = slab?.subarray(0, got) ?? nothing;
    const firstOffset = index.firstOffset[block]!;
    const endOffset = index.firstOffset[block + 1] ?? segment.stored.offset;
    const verified = index.verified[block] === true;
    const { shard, id } = segment;
    const parsed = parseBlock(bytes, { shard, segment: id, firstOffset, endOffset, verify: !verified });
    if (got < expected) parsed.lost.push({ from: firstOffset, to: endOffset });
    if (parsed.lost.length > 0) {
      counters.rotEntries += parsed.lost.length;
      logger.error({ shard, segment: id, block, lost: parsed.lost }, 'stored entries are damaged');
    } else if (block + 1 < index.blocks && expected === index.bytes(block)) {
      index.verified[block] = true;
    }
    return new CachedBlock({ segment, block, bytes: expected, slab }, parsed.entries, parsed.lost);
  }
}

interface BlockPlace {
  readonly segment: Segment;
  readonly index: BlockIndex;
  readonly block: number;
}

interface BlockRead {
  /** Null when there is no file. */
  readonly slab: Buffer | null;
  readonly got: number;
  /** Bytes that should be there; fewer are damage. */
  readonly expected: number;
}

/** Bytes of a block that are in the file: of the last block of an open segment not all. */
function storedBytes(segment: Segment, index: BlockIndex, block: number): number {
  return Math.min(index.end(block), segment.stored.bytes) - index.position[block]!;
}

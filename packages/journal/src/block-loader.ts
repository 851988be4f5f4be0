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
import { parseBlock } from './block-parser.ts';

export interface BlockLoaderOptions {
  readonly files: SegmentFiles;
  readonly cache: BlockCache;
  readonly indexes: IndexLoader;
  readonly counters: JournalCounters;
  readonly logger: Logger;
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
    if (found !== undefined && found.bytes >= bytes) {
      this.#options.cache.touch(found);
      return found;
    }
    return loaded?.block === block && loaded.bytes >= bytes ? loaded : null;
  }

  /** Many readers of one block share one read. */
  load(segment: Segment, block: number): Promise<CachedBlock> {
    const running = segment.loading.get(block);
    if (running !== undefined) return running;
    // The cache of indexes may drop it while the block is being read.
    const { index } = segment;
    assert(index !== null, 'a block is found by its index');
    const loading = this.#options.files
      .use('read', segment, (file) => this.#read(file, { segment, index, block }))
      .catch((error: unknown) => {
        if (!(error instanceof RobustError) || error.code !== 'DISK_NOT_FOUND') throw error;
        if (segment.phase === 'deleted') throw segmentUnknown({ shard: segment.shard, segment: segment.id });
        const bytes = storedBytes(segment, index, block);
        return this.#parse({ segment, index, block }, { bytes: Buffer.alloc(0), expected: bytes });
      })
      .finally(() => segment.loading.delete(block));
    segment.loading.set(block, loading);
    return loading;
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

  async #read(file: DiskFile, place: BlockPlace): Promise<CachedBlock> {
    const { segment, index, block } = place;
    // More may be in the file when the read is over: this block ends where it ended at the beginning.
    const expected = storedBytes(segment, index, block);
    const bytes = Buffer.allocUnsafeSlow(expected);
    const got = await file.pread('read', bytes, index.position[block]!);
    this.#options.counters.blocksRead++;
    return this.#parse(place, { bytes: bytes.subarray(0, got), expected });
  }

  #parse({ segment, index, block }: BlockPlace, read: BlockRead): CachedBlock {
    const { counters, logger, cache } = this.#options;
    const { bytes, expected } = read;
    const firstOffset = index.firstOffset[block]!;
    const endOffset = index.firstOffset[block + 1] ?? segment.stored.offset;
    const verified = index.verified[block] === true;
    const { shard, id } = segment;
    const parsed = parseBlock(bytes, { shard, segment: id, firstOffset, endOffset, verify: !verified });
    if (bytes.length < expected) parsed.lost.push({ from: firstOffset, to: endOffset });
    if (parsed.lost.length > 0) {
      counters.rotEntries += parsed.lost.length;
      logger.error({ shard, segment: id, block, lost: parsed.lost }, 'stored entries are damaged');
    } else if (block + 1 < index.blocks && expected === index.bytes(block)) {
      index.verified[block] = true;
    }
    const found = new CachedBlock({ segment, block, bytes: expected }, parsed.entries, parsed.lost);
    if (segment.phase !== 'deleted') cache.add(found);
    return found;
  }
}

interface BlockPlace {
  readonly segment: Segment;
  readonly index: BlockIndex;
  readonly block: number;
}

interface BlockRead {
  readonly bytes: Buffer;
  /** Bytes that should be there; fewer are damage. */
  readonly expected: number;
}

/** Bytes of a block that are in the file: of the last block of an open segment not all. */
function storedBytes(segment: Segment, index: BlockIndex, block: number): number {
  return Math.min(index.end(block), segment.stored.bytes) - index.position[block]!;
}

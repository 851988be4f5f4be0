import { RobustError } from '@robustmq/core';
import type { DiskFile, Logger } from '@robustmq/core';
import { BlockFilterBuilder } from './block-filter.ts';
import type { BlockCache } from './block-cache.ts';
import { CachedBlock } from './block-cache.ts';
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

  /** A block as far as it is in the cache; of the last block of an open segment all that is in the file. */
  cached(segment: Segment, block: number): CachedBlock | null {
    const found = segment.blocks.get(block);
    if (found === undefined || found.bytes < this.#storedBytes(segment, block)) return null;
    this.#options.cache.touch(found);
    return found;
  }

  /** Many readers of one block share one read. */
  load(segment: Segment, block: number): Promise<CachedBlock> {
    const running = segment.loading.get(block);
    if (running !== undefined) return running;
    const loading = this.#options.files
      .use('read', segment, (file) => this.#read(file, segment, block))
      .catch((error: unknown) => {
        if (!(error instanceof RobustError) || error.code !== 'DISK_NOT_FOUND') throw error;
        if (segment.phase === 'deleted') throw segmentUnknown({ shard: segment.shard, segment: segment.id });
        return this.#parse(segment, block, Buffer.alloc(0));
      })
      .finally(() => segment.loading.delete(block));
    segment.loading.set(block, loading);
    return loading;
  }

  /** Builds the filter of a block of a sealed segment that nobody could build while it was in memory. */
  addFilter(segment: Segment, found: CachedBlock): void {
    const index = segment.index;
    if (
      index === null ||
      segment.phase !== 'sealed' ||
      index.isFiltered(found.block) ||
      found.lost.length > 0
    )
      return;
    let all = true;
    for (const entry of found.entries) all &&= entryTokens(entry.payload, entry.flags, this.#filters);
    const filter = this.#filters.finish();
    index.setFilter(found.block, all ? filter : null);
    this.#options.indexes.keep(segment);
  }

  async #read(file: DiskFile, segment: Segment, block: number): Promise<CachedBlock> {
    const index = segment.index;
    if (index === null) throw segmentUnknown({ shard: segment.shard, segment: segment.id });
    const bytes = Buffer.allocUnsafeSlow(this.#storedBytes(segment, block));
    const got = await file.pread('read', bytes, index.position[block]!);
    this.#options.counters.blocksRead++;
    return this.#parse(segment, block, bytes.subarray(0, got));
  }

  #parse(segment: Segment, block: number, bytes: Buffer): CachedBlock {
    const { counters, logger, cache } = this.#options;
    const index = segment.index;
    const expected = this.#storedBytes(segment, block);
    const firstOffset = index?.firstOffset[block] ?? segment.baseOffset;
    const endOffset = index?.firstOffset[block + 1] ?? segment.stored.offset;
    const verified = index?.verified[block] === true;
    const { shard, id } = segment;
    const parsed = parseBlock(bytes, { shard, segment: id, firstOffset, endOffset, verify: !verified });
    if (bytes.length < expected) parsed.lost.push({ from: firstOffset, to: endOffset });
    if (parsed.lost.length > 0) {
      counters.rotEntries += parsed.lost.length;
      logger.error({ shard, segment: id, block, lost: parsed.lost }, 'stored entries are damaged');
    } else if (index !== null && block + 1 < index.blocks) {
      index.verified[block] = true;
    }
    const found = new CachedBlock({ segment, block, bytes: expected }, parsed.entries, parsed.lost);
    if (segment.phase !== 'deleted') cache.add(found);
    return found;
  }

  #storedBytes(segment: Segment, block: number): number {
    const index = segment.index;
    if (index === null) return 0;
    return Math.min(index.end(block), segment.stored.bytes) - index.position[block]!;
  }
}

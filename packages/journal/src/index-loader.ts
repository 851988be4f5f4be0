import type { DiskFile, Logger } from '@robustmq/core';
import { entryHeaderBytes } from '@robustmq/kernel';
import type { BlockCache } from './block-cache.ts';
import { BlockIndex } from './block-index.ts';
import type { JournalCounters } from './counters.ts';
import { isDiskError } from './errors.ts';
import type { Trailer } from './footer.ts';
import { decodeFilters, decodeIndex, decodeTrailer, indexRowBytes, trailerBytes } from './footer.ts';
import type { JournalLimits } from './limits.ts';
import type { Segment } from './segment.ts';
import type { SegmentFiles } from './segment-files.ts';
import { scanSegment } from './segment-scan.ts';
import { maxTimestampOf } from './tail-entry.ts';

export interface IndexLoaderOptions {
  readonly files: SegmentFiles;
  readonly blocks: BlockCache;
  readonly limits: JournalLimits;
  readonly counters: JournalCounters;
  readonly logger: Logger;
}

/**
 * Indexes and filters of sealed segments: read from their footers, or by a scan where that is damaged, and kept least
 * recently used first out, those that are being read excepted. An open segment's index is always in memory and not counted.
 */
export class IndexLoader {
  readonly #files: SegmentFiles;
  readonly #blocks: BlockCache;
  readonly #limits: JournalLimits;
  readonly #counters: JournalCounters;
  readonly #logger: Logger;
  readonly #cached = new Map<Segment, number>();
  readonly #loading = new Map<Segment, Promise<void>>();

  constructor(options: IndexLoaderOptions) {
    this.#files = options.files;
    this.#blocks = options.blocks;
    this.#limits = options.limits;
    this.#counters = options.counters;
    this.#logger = options.logger;
  }

  /**
   * A read begins: an index that is loaded from now on stays until `release`. Readers that took each other's away would load
   * them again for ever.
   */
  hold(segment: Segment): void {
    segment.readers++;
  }

  release(segment: Segment): void {
    segment.readers--;
    this.#bound();
  }

  /** Makes `segment.index` present. */
  load(segment: Segment): Promise<void> {
    return this.#once(segment, async (file) => {
      if (segment.index === null) this.#keep(segment, await this.#read(file, segment));
    }).catch((error: unknown) => {
      if (!isDiskError(error, 'DISK_NOT_FOUND') || segment.phase === 'deleted') throw error;
      // The file is gone: one block that holds everything, for readers to find that it is lost.
      if (segment.index === null) this.#keep(segment, lostIndex(segment, this.#limits.blockBytes));
    });
  }

  /** Makes the filters of `segment.index` present, as far as there are any. */
  loadFilters(segment: Segment): Promise<void> {
    return this.#once(segment, async (file) => {
      const trailer = await readTrailer(file);
      const index = segment.index;
      if (index === null || index.filtersLoaded) return;
      if (trailer === null) {
        index.filtersLoaded = true;
        return;
      }
      const region = Buffer.allocUnsafe(trailer.filtersBytes + trailer.blocks * indexRowBytes);
      await file.pread('read', region, trailer.dataBytes);
      const regions = {
        filters: region.subarray(0, trailer.filtersBytes),
        rows: region.subarray(trailer.filtersBytes),
      };
      if (!decodeFilters(trailer, index, regions)) {
        this.#logger.warn(
          { shard: segment.shard, segment: segment.id },
          'the filters of a segment are damaged',
        );
      }
      this.#keep(segment, index);
    });
  }

  /** Takes an index into the cache, or counts one again whose filters have grown. */
  keep(segment: Segment): void {
    if (segment.index !== null && segment.phase === 'sealed') this.#keep(segment, segment.index);
  }

  drop(segment: Segment): void {
    this.#counters.indexCacheBytes -= this.#cached.get(segment) ?? 0;
    this.#cached.delete(segment);
    this.#blocks.dropSegment(segment);
    if (segment.phase === 'sealed') segment.index = null;
  }

  #once(segment: Segment, task: (file: DiskFile) => Promise<void>): Promise<void> {
    const running = this.#loading.get(segment);
    if (running !== undefined) return running;
    const loading = this.#files.use('read', segment, task).finally(() => this.#loading.delete(segment));
    this.#loading.set(segment, loading);
    return loading;
  }

  #keep(segment: Segment, index: BlockIndex): void {
    segment.index = index;
    const bytes = index.memoryBytes();
    this.#counters.indexCacheBytes += bytes - (this.#cached.get(segment) ?? 0);
    this.#cached.delete(segment);
    this.#cached.set(segment, bytes);
    this.#bound();
  }

  /** One is kept whatever its size, and what is being read: as many more as reads are under way. */
  #bound(): void {
    for (const oldest of this.#cached.keys()) {
      if (this.#counters.indexCacheBytes <= this.#limits.indexCacheBytes || this.#cached.size === 1) break;
      if (oldest.readers === 0) this.drop(oldest);
    }
  }

  async #read(file: DiskFile, segment: Segment): Promise<BlockIndex> {
    const trailer = await readTrailer(file);
    const index = trailer === null ? null : await this.#readIndex(file, trailer);
    if (index !== null && trailer?.segment === segment.id && trailer.dataBytes === segment.stored.bytes)
      return index;
    this.#logger.warn({ shard: segment.shard, segment: segment.id }, 'the index of a segment is made again');
    return scanIndex(file, segment, this.#limits.blockBytes);
  }

  async #readIndex(file: DiskFile, trailer: Trailer): Promise<BlockIndex | null> {
    const rows = Buffer.allocUnsafe(trailer.blocks * indexRowBytes);
    await file.pread('read', rows, trailer.dataBytes + trailer.filtersBytes);
    return decodeIndex(trailer, rows, this.#limits.blockBytes);
  }
}

function lostIndex(segment: Segment, blockBytes: number): BlockIndex {
  const index = new BlockIndex(blockBytes);
  index.addBlock(segment.baseOffset, segment.stored.maxTimestamp, 0);
  index.dataBytes = segment.stored.bytes;
  return index;
}

/** The trailer of a sealed segment's file; null when there is none. */
export async function readTrailer(file: DiskFile): Promise<Trailer | null> {
  const size = await file.size();
  if (size < trailerBytes) return null;
  const bytes = Buffer.allocUnsafe(trailerBytes);
  await file.pread('read', bytes, size - trailerBytes);
  return decodeTrailer(bytes, size);
}

/** An index from the entries themselves. What follows a damaged entry becomes one block, for readers to find. */
export async function scanIndex(file: DiskFile, segment: Segment, blockBytes: number): Promise<BlockIndex> {
  const index = new BlockIndex(blockBytes);
  let next = segment.baseOffset;
  const range = { io: 'read', position: 0, entryId: 0, previousCrc: 0, end: segment.stored.bytes } as const;
  await scanSegment(file, segment, range, (header, entry) => {
    const timestamp = maxTimestampOf([entry], header.flags, entryHeaderBytes);
    index.add(header.baseOffset, entry.length, timestamp, header.count === 0);
    next = header.baseOffset + header.count;
  });
  if (index.dataBytes < segment.stored.bytes) {
    index.addBlock(next, segment.stored.maxTimestamp, 0);
    index.dataBytes = segment.stored.bytes;
  }
  return index;
}

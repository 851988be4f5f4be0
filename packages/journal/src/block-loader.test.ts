import type { DiskFile, SegmentId, ShardId } from '@robustmq/core';
import { silentLogger } from '@robustmq/core';
import { TestLog } from '@robustmq/kernel/conformance';
import { expect, it } from 'vitest';
import { BlockCache } from './block-cache.ts';
import { BlockLoader } from './block-loader.ts';
import { createCounters } from './counters.ts';
import type { IndexLoader } from './index-loader.ts';
import { Segment } from './segment.ts';
import type { SegmentFiles } from './segment-files.ts';
import { SlabPool } from './slab-pool.ts';
import { entryNumbersOf, headerOf } from './tail-entry.ts';

const blockBytes = 400;

/** A sealed segment of three blocks of an entry each, its file in memory, and a cache whose queue holds two. */
function rig(): { readonly loader: BlockLoader; readonly segment: Segment } {
  const log = new TestLog(7 as ShardId, 1);
  const identity = { shard: log.shard, id: 1 as SegmentId, epoch: log.epoch, baseOffset: 0, memory: false };
  const segment = new Segment(identity, blockBytes);
  const parts: Buffer[] = [];
  for (let at = 0; at < 3; at++) {
    const entry = log.data(1, 1000, { bytes: 350 });
    const place = { position: segment.end.bytes, generation: 1 };
    segment.push(entryNumbersOf(headerOf(entry)!, entry.parts, place), entry.parts);
    parts.push(...entry.parts);
  }
  segment.stored = { ...segment.end };
  const bytes = Buffer.concat(parts);
  const file = {
    pread: async (_io: string, into: Buffer, position: number) => bytes.copy(into, 0, position),
  } as unknown as DiskFile;
  const counters = createCounters();
  const slabs = new SlabPool({ unitBytes: 512, freeBytesMax: 1 << 20 });
  const loader = new BlockLoader({
    files: {
      use: (_io: string, _segment: Segment, task: (file: DiskFile) => unknown) => task(file),
    } as unknown as SegmentFiles,
    cache: new BlockCache(16 * 512, counters, slabs),
    slabs,
    indexes: {} as IndexLoader,
    counters,
    logger: silentLogger,
  });
  return { loader, segment };
}

it('a reader that asks for a block while others push it out of the cache gets its bytes, or reads it again', async () => {
  for (let first = 0; first < 12; first++) {
    for (let then = 0; then < 12; then++) {
      const { loader, segment } = rig();
      loader.loadAhead(segment, 0);
      for (let at = 0; at < first; at++) await undefined;
      for (const block of [1, 2]) void loader.load(segment, block).then((other) => loader.release(other));
      for (let at = 0; at < then; at++) await undefined;
      const found = await loader.load(segment, 0);
      // Its buffer is not free for others while we have it.
      expect(found.slab, `after ${first} and ${then} steps`).not.toBeNull();
      loader.release(found);
    }
  }
});

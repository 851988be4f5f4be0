import type { Epoch, Offset, SegmentId, ShardId } from '@robustmq/core';
import { ByteReader, ByteWriter, crc32c } from '@robustmq/core';
import { blockFilterVersion } from './block-filter.ts';
import { BlockIndex } from './block-index.ts';

/*
 * Footer of a sealed segment file, behind its entries, big-endian:
 *
 *     filters   the blocks' filters back to back, then the segment's; words of u32
 *     index     per block: i64 first offset, u32 position, i64 max timestamp so far, u32 flags, u32 filter bytes
 *     trailer   96 bytes, below
 *
 * All of it is derived from the entries: a footer that is missing or does not check is rebuilt by a scan.
 */
export const trailerBytes = 96;
export const indexRowBytes = 28;
const magic = 0x524d5153;
const version = 1;

/** What a trailer says about its segment and about the regions before it. */
export interface Trailer {
  readonly shard: ShardId;
  readonly segment: SegmentId;
  readonly epoch: Epoch;
  readonly baseOffset: Offset;
  readonly endOffset: Offset;
  readonly maxTimestamp: number;
  readonly endEntry: number;
  readonly chainCrc: number;
  /** Entries take `[0, dataBytes)` of the file. */
  readonly dataBytes: number;
  readonly blocks: number;
  readonly filtersBytes: number;
  readonly filtersCrc: number;
  readonly segmentFilterBytes: number;
  readonly indexCrc: number;
}

/** What the writer of a footer knows of the segment. */
export type FooterFacts = Pick<
  Trailer,
  'shard' | 'segment' | 'epoch' | 'baseOffset' | 'endOffset' | 'maxTimestamp' | 'endEntry' | 'chainCrc'
>;

export function encodeFooter(facts: FooterFacts, index: BlockIndex): Buffer {
  const filters = new ByteWriter(64 * 1024);
  const rows = new ByteWriter(index.blocks * indexRowBytes + 1);
  for (let block = 0; block < index.blocks; block++) {
    const filter = index.filters[block] ?? null;
    if (filter !== null) writeFilter(filters, filter);
    rows
      .i64(index.firstOffset[block]!)
      .u32(index.position[block]!)
      .i64(index.maxTimestamp[block]!)
      .u32(index.flags[block]!)
      .u32(filter?.byteLength ?? 0);
  }
  if (index.segmentFilter !== null) writeFilter(filters, index.segmentFilter);
  const trailer = new ByteWriter(trailerBytes)
    .u32(magic)
    .u8(version)
    .u8(blockFilterVersion)
    .u16(0)
    .u32(facts.shard)
    .u32(index.blocks)
    .i64(facts.segment)
    .i64(facts.baseOffset)
    .i64(facts.endOffset)
    .i64(facts.maxTimestamp)
    .i32(facts.endEntry)
    .u32(facts.chainCrc)
    .i64(index.dataBytes)
    .u32(facts.epoch)
    .u32(index.segmentFilter?.byteLength ?? 0)
    .u32(filters.length)
    .u32(crc32c(filters.view()))
    .u32(rows.length)
    .u32(crc32c(rows.view()))
    .u32(0);
  trailer.u32(crc32c(trailer.view()));
  return Buffer.concat([filters.view(), rows.view(), trailer.view()]);
}

/** Reads the last 96 bytes of a file of `fileBytes`; null when they are no sound trailer of such a file. */
export function decodeTrailer(bytes: Buffer, fileBytes: number): Trailer | null {
  if (bytes.length !== trailerBytes || crc32c(bytes.subarray(0, 92)) !== bytes.readUInt32BE(92)) return null;
  if (bytes.readUInt32BE(0) !== magic || bytes[4] !== version) return null;
  const at = new ByteReader(bytes, 8);
  const trailer = {
    shard: at.u32() as ShardId,
    blocks: at.u32(),
    segment: at.i64() as SegmentId,
    baseOffset: at.i64(),
    endOffset: at.i64(),
    maxTimestamp: at.i64(),
    endEntry: at.i32(),
    chainCrc: at.u32(),
    dataBytes: at.i64(),
    epoch: at.u32() as Epoch,
    segmentFilterBytes: at.u32(),
    filtersBytes: at.u32(),
    filtersCrc: at.u32(),
  };
  const indexBytes = at.u32();
  const sound =
    indexBytes === trailer.blocks * indexRowBytes &&
    trailer.segmentFilterBytes <= trailer.filtersBytes &&
    trailer.dataBytes + trailer.filtersBytes + indexBytes + trailerBytes === fileBytes;
  return sound ? { ...trailer, indexCrc: at.u32() } : null;
}

/** The index without its filters; null when the bytes do not check. */
export function decodeIndex(trailer: Trailer, bytes: Buffer, blockBytes: number): BlockIndex | null {
  if (bytes.length !== trailer.blocks * indexRowBytes || crc32c(bytes) !== trailer.indexCrc) return null;
  const index = new BlockIndex(blockBytes);
  const at = new ByteReader(bytes);
  for (let block = 0; block < trailer.blocks; block++) {
    const firstOffset = at.i64();
    index.dataBytes = at.u32();
    index.addBlock(firstOffset, at.i64(), at.u32());
    at.u32();
  }
  index.dataBytes = trailer.dataBytes;
  index.filtersLoaded = trailer.filtersBytes === 0;
  return index;
}

/** Fills in the filters; false when the bytes do not check, and then every block matches all. */
export function decodeFilters(
  trailer: Trailer,
  index: BlockIndex,
  regions: { readonly filters: Buffer; readonly rows: Buffer },
): boolean {
  index.filtersLoaded = true;
  if (crc32c(regions.filters) !== trailer.filtersCrc || crc32c(regions.rows) !== trailer.indexCrc)
    return false;
  let at = 0;
  for (let block = 0; block < trailer.blocks; block++) {
    const bytes = regions.rows.readUInt32BE(block * indexRowBytes + 24);
    if (bytes === 0) continue;
    if (at + bytes > trailer.filtersBytes) return false;
    index.filters[block] = readFilter(regions.filters, at, bytes);
    at += bytes;
  }
  if (trailer.segmentFilterBytes > 0 && at + trailer.segmentFilterBytes === trailer.filtersBytes) {
    index.segmentFilter = readFilter(regions.filters, at, trailer.segmentFilterBytes);
  }
  return true;
}

function writeFilter(out: ByteWriter, filter: Uint32Array): void {
  for (const word of filter) out.u32(word);
}

function readFilter(bytes: Buffer, start: number, length: number): Uint32Array {
  const filter = new Uint32Array(length >>> 2);
  for (let i = 0; i < filter.length; i++) filter[i] = bytes.readUInt32BE(start + i * 4);
  return filter;
}

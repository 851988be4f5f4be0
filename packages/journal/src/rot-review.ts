import type { Disk, Logger, SegmentId, ShardId } from '@robustmq/core';
import { RobustError } from '@robustmq/core';
import type { EntryHeader, SegmentRecord } from '@robustmq/kernel';
import {
  batchPrefixBytes,
  checkEntry,
  decodeEntryHeader,
  entryFlag,
  entryHeaderBytes,
  entryLengthAt,
} from '@robustmq/kernel';
import { batchLastOffsetDelta, nextBatch } from '@robustmq/record';
import type { RotReport } from '@robustmq/wal';
import type { Segment } from './segment.ts';
import type { SegmentStore } from './segment-store.ts';
import { checkItem, decodeFence } from './wal-items.ts';

const magicBytes = Buffer.from('RMQE');
/** Offsets that a segment may have lost when nobody knows what a damaged frame held: far above what fits in one. */
const unknownLossOffsets = 2 ** 20;
/** Items of one frame that are tried to be restored: more than that are no flipped bits. */
const restoredMax = 64;
/** Bytes under an item's own checksum: its header, and the first of its batch. */
const restoredBytes = entryHeaderBytes + batchPrefixBytes;
/** Where an entry has its first offset: in its header, and in its first batch. */
const baseInHeader = 32;
const baseInBatch = entryHeaderBytes;

export interface RotReviewOptions {
  readonly disk: Disk;
  readonly walFolder: string;
  readonly store: SegmentStore;
  readonly logger: Logger;
  /** What replay or a probe of the files has settled already: segments with an entry behind the damage. */
  readonly continuedAfter: (segment: Segment, report: RotReport) => boolean;
  readonly record: (shard: ShardId, segment: SegmentId) => SegmentRecord | undefined;
  readonly openRecords: () => Iterable<{ readonly shard: ShardId; readonly record: SegmentRecord }>;
}

/**
 * Finds out whom the damage to the log hit. A damaged entry whose header, or what it was before a bit was flipped, still
 * continues its segment's chain names its segment and the offsets it had; when that explains all damaged items, nobody
 * else is affected. Otherwise every segment that was open and may have had an entry there is lost from its end on: a
 * journal that may have lost acknowledged entries never says that it has none.
 */
export async function reviewRot(reports: readonly RotReport[], options: RotReviewOptions): Promise<void> {
  for (const report of reports) {
    const { bad: _, ...figures } = report;
    if (report.kind === 'checkpoint') {
      options.logger.error(figures, 'a checkpoint of the write-ahead log is damaged');
      continue;
    }
    const explained = await attribute(report, options);
    options.logger.error({ ...figures, explained }, 'the write-ahead log is damaged');
    if (report.badItems !== null && explained >= report.badItems) continue;
    for (const { shard, record } of options.openRecords()) create(shard, record, options.store);
    for (const segment of options.store.segments()) {
      if (segment.phase !== 'open' || segment.memory || options.continuedAfter(segment, report)) continue;
      // What another report says of the segment may be less than all of it.
      segment.lostTo = Math.max(segment.lostTo, segment.end.offset + unknownLossOffsets);
    }
  }
}

/** Items of the report that are explained, counted. */
async function attribute(report: RotReport, options: RotReviewOptions): Promise<number> {
  const bytes = await readDamaged(report, options);
  if (report.kind !== 'item') return attributeFound(bytes, options);
  let explained = 0;
  for (const [tries, { at, bytes: length, crc }] of report.bad.entries()) {
    const item = bytes.subarray(at, at + length);
    const whole = tries < restoredMax ? restoreBit(item, crc) : null;
    const fence = whole === null ? null : decodeFence(whole);
    if (fence !== null) {
      const shard = options.store.shard(fence.shard);
      if (fence.epoch > shard.fence) shard.fence = fence.epoch;
      explained++;
    } else if (attributeEntry(whole ?? item, options) || (whole !== null && isDeleted(whole, options)))
      explained++;
  }
  return explained;
}

/** Entries of a frame that nobody can take apart: wherever one begins. */
function attributeFound(bytes: Buffer, options: RotReviewOptions): number {
  let explained = 0;
  for (let at = bytes.indexOf(magicBytes); at >= 0; at = bytes.indexOf(magicBytes, at + 1)) {
    const header = headerAt(bytes, at);
    if (header === null) continue;
    const entry = bytes.subarray(at, at + entryHeaderBytes + header.payloadBytes);
    if (checkEntry(entry) !== null) at += entry.length - 1;
    else if (attributeEntry(entry, options)) explained++;
  }
  return explained;
}

/** Whether a damaged entry is one of a segment that is here, which then knows what it lost. */
function attributeEntry(entry: Buffer, { record: recordOf, store }: RotReviewOptions): boolean {
  const header = headerAt(entry, 0);
  if (header === null) return false;
  const record = recordOf(header.shard, header.segment);
  if (record?.state === 'open') create(header.shard, record, store);
  const segment = store.find(header.shard, header.segment);
  return segment !== undefined && segment.epoch === header.epoch && explains(segment, header, entry);
}

/** Whether an entry whose every bit is known is of a segment that is no more. */
function isDeleted(entry: Buffer, { record, store }: RotReviewOptions): boolean {
  const { shard, segment, entryId } = decodeEntryHeader(entry)!;
  return entryId > 0 && record(shard, segment) === undefined && store.find(shard, segment) === undefined;
}

/**
 * The item as it was before one bit of its header, or of its first batch's, was flipped; null when that is not what
 * happened. Only to learn whose it was: what is damaged is never served.
 */
function restoreBit(item: Buffer, crc: number): Buffer | null {
  // Nothing that its own checksum covers is damaged.
  if (entryLengthAt(item, 0) === item.length) return null;
  const copy = Buffer.from(item);
  const bytes = Math.min(item.length, restoredBytes);
  for (let at = 0; at < bytes; at++) {
    const byte = item[at]!;
    for (let bit = 0; bit < 8; bit++) {
      copy[at] = byte ^ (1 << bit);
      if (checkItem(copy) === crc) return copy;
    }
    copy[at] = byte;
  }
  return null;
}

/**
 * Whether a damaged entry is one that the segment has already, or lost. Any of its fields may be what is damaged, so
 * no single one is believed: an id has to fit its offset, and the end of a loss has to be the same in header and batches.
 */
function explains(segment: Segment, header: EntryHeader, entry: Buffer): boolean {
  const { end, baseOffset } = segment;
  const endOffset = header.baseOffset + header.count;
  if (header.entryId <= end.entry) return header.baseOffset >= baseOffset && endOffset <= end.offset;
  const certain = offsetsAgree(header, entry);
  const follows = header.entryId === end.entry + 1 && header.previousCrc === end.crc;
  if (follows && header.baseOffset === end.offset) {
    const lostTo = certain ? Math.max(endOffset, end.offset + 1) : end.offset + unknownLossOffsets;
    segment.lostTo = Math.max(segment.lostTo, lostTo);
    return true;
  }
  if (!certain || segment.lostTo <= end.offset || header.baseOffset < end.offset) return false;
  segment.lostTo = Math.max(segment.lostTo, endOffset);
  return true;
}

/** Whether an entry's batches take the offsets that its header says. */
function offsetsAgree(header: EntryHeader, entry: Buffer): boolean {
  if ((header.flags & entryFlag.control) !== 0) return header.count === 0;
  let count = 0;
  let at = entryHeaderBytes;
  for (let next = nextBatch(entry, at); next !== -1; at = next, next = nextBatch(entry, at)) {
    count += batchLastOffsetDelta(entry, at) + 1;
  }
  const sameBase =
    entry.length >= baseInBatch + 8 &&
    entry.compare(entry, baseInBatch, baseInBatch + 8, baseInHeader, baseInHeader + 8) === 0;
  return sameBase && count === header.count && count > 0;
}

/** A segment of which the log has nothing else. */
function create(shard: ShardId, record: SegmentRecord, store: SegmentStore): void {
  if (store.find(shard, record.id) !== undefined) return;
  store.create({
    shard,
    id: record.id,
    epoch: record.writerEpoch,
    baseOffset: record.baseOffset,
    memory: false,
  });
}

function headerAt(bytes: Buffer, at: number): EntryHeader | null {
  try {
    return decodeEntryHeader(bytes, at);
  } catch (error) {
    // An int64 that no writer makes: the header itself is damaged.
    if (error instanceof RobustError) return null;
    throw error;
  }
}

async function readDamaged(report: RotReport, { disk, walFolder }: RotReviewOptions): Promise<Buffer> {
  if (report.file === null || report.bytes === 0) return Buffer.alloc(0);
  const file = await disk.open('read', `${walFolder}/${report.file}`);
  try {
    const bytes = Buffer.allocUnsafe(report.bytes);
    return bytes.subarray(0, await file.pread('read', bytes, report.position));
  } finally {
    await file.close();
  }
}

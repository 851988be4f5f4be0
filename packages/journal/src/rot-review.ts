import type { Disk, Logger, SegmentId, ShardId } from '@robustmq/core';
import { RobustError } from '@robustmq/core';
import type { EntryHeader, SegmentRecord } from '@robustmq/kernel';
import { checkEntry, decodeEntryHeader, entryFlag, entryHeaderBytes } from '@robustmq/kernel';
import { batchLastOffsetDelta, nextBatch } from '@robustmq/record';
import type { RotReport } from '@robustmq/wal';
import type { Segment } from './segment.ts';
import type { SegmentStore } from './segment-store.ts';

const magicBytes = Buffer.from('RMQE');
/** Offsets that a segment may have lost when nobody knows what a damaged frame held: far above what fits in one. */
const unknownLossOffsets = 2 ** 20;
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
 * Finds out whom the damage to the log hit. A damaged entry whose header still continues its segment's chain names its
 * segment and the offsets it had; when that explains all damaged items, nobody else is affected. Otherwise every segment
 * that was open and may have had an entry there is lost from its end on: a journal that may have lost acknowledged
 * entries never says that it has none.
 */
export async function reviewRot(reports: readonly RotReport[], options: RotReviewOptions): Promise<void> {
  for (const report of reports) {
    if (report.kind === 'checkpoint') continue;
    const explained = await attribute(report, options);
    options.logger.error({ ...report, explained }, 'the write-ahead log is damaged');
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
  let explained = 0;
  for (let at = bytes.indexOf(magicBytes); at >= 0; at = bytes.indexOf(magicBytes, at + 1)) {
    const header = headerAt(bytes, at);
    if (header === null) continue;
    const length = entryHeaderBytes + header.payloadBytes;
    if (checkEntry(bytes.subarray(at, at + length)) !== null) {
      at += length - 1;
      continue;
    }
    const record = options.record(header.shard, header.segment);
    if (record?.state === 'open') create(header.shard, record, options.store);
    const segment = options.store.find(header.shard, header.segment);
    if (segment === undefined || segment.epoch !== header.epoch) continue;
    if (explains(segment, header, bytes.subarray(at, at + length))) explained++;
  }
  return explained;
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

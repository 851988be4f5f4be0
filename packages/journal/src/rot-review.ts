import type { Disk, Logger, SegmentId, ShardId } from '@robustmq/core';
import { RobustError } from '@robustmq/core';
import type { EntryHeader, SegmentRecord } from '@robustmq/kernel';
import { checkEntry, decodeEntryHeader, entryHeaderBytes } from '@robustmq/kernel';
import type { RotReport } from '@robustmq/wal';
import type { Segment } from './segment.ts';
import type { SegmentStore } from './segment-store.ts';

const magicBytes = Buffer.from('RMQE');
/** Offsets that a segment may have lost when nobody knows what a damaged frame held: far above what fits in one. */
const unknownLossOffsets = 2 ** 20;

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
      if (segment.phase !== 'open' || segment.memory || segment.lostTo > 0) continue;
      if (!options.continuedAfter(segment, report)) segment.lostTo = segment.end.offset + unknownLossOffsets;
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
    const { end } = segment;
    if (header.entryId <= end.entry) explained++;
    else if (segment.lostTo > end.offset && header.baseOffset >= end.offset) explained++;
    else if (
      header.entryId === end.entry + 1 &&
      header.previousCrc === end.crc &&
      header.baseOffset === end.offset
    ) {
      segment.lostTo = Math.max(segment.lostTo, end.offset + Math.max(1, header.count));
      explained++;
    }
  }
  return explained;
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

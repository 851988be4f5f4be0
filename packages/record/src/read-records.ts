import {
  batchBaseOffset,
  batchBaseTimestamp,
  batchCodec,
  batchHasAppendTime,
  batchHeaderBytes,
  batchLastOffsetDelta,
  batchMaxTimestamp,
  batchRecordCount,
  codecs,
  nextBatch,
} from './batch-header.ts';
import { decompressBatch } from './compression.ts';
import { malformed } from './errors.ts';
import type { RecordTable } from './record-table.ts';

/**
 * Reads the records of the batch at `position` into `table`, with offsets and timestamps. `records` is what
 * `decompressBatchAsync` gave for it; without it a compressed batch is decompressed here, on the event loop, up to 64 MiB.
 * Takes batches that passed `validateBatch`; throws what `RecordTable.read` and `decompressBatch` throw.
 */
export function readRecords(
  table: RecordTable,
  buffer: Buffer,
  position: number,
  records?: Buffer,
): RecordTable {
  const end = nextBatch(buffer, position);
  if (end === -1) throw malformed('a batch is cut off', position);
  const frame = {
    count: batchRecordCount(buffer, position),
    lastOffsetDelta: batchLastOffsetDelta(buffer, position),
    baseOffset: batchBaseOffset(buffer, position),
    baseTimestamp: batchBaseTimestamp(buffer, position),
    appendTimestamp: batchHasAppendTime(buffer, position) ? batchMaxTimestamp(buffer, position) : -1,
  };
  if (batchCodec(buffer, position) === codecs.none) {
    return table.read(buffer, position + batchHeaderBytes, end, frame);
  }
  // Compaction leaves batches without records, whose section is empty whatever their codec.
  const empty = frame.count === 0 && end - position === batchHeaderBytes;
  const section = records ?? (empty ? buffer.subarray(end, end) : decompressBatch(buffer, position, end));
  return table.read(section, 0, section.length, frame);
}

/** A record found by its timestamp. */
export interface TimestampMatch {
  readonly offset: number;
  readonly timestamp: number;
}

/**
 * The first record of a table whose timestamp is at or after `target`, or null. Compare `batchMaxTimestamp` first: it
 * answers for most batches without reading their records.
 */
export function findOffsetByTimestamp(table: RecordTable, target: number): TimestampMatch | null {
  for (let row = 0; row < table.count; row++) {
    const timestamp = table.timestamp(row);
    if (timestamp >= target) return { offset: table.offset(row), timestamp };
  }
  return null;
}

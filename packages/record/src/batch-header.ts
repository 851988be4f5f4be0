import { crc32c, readInt64, writeInt64 } from '@robustmq/core';

/*
 * Record batch v2, big-endian. The checksum covers everything from `attributes` on, so the base offset and
 * the leader epoch are assigned by patching bytes that it does not cover.
 *
 *    0 baseOffset i64      17 crc u32              35 maxTimestamp i64    57 recordCount i32
 *    8 batchLength i32     21 attributes i16       43 producerId i64      61 records
 *   12 leaderEpoch i32     23 lastOffsetDelta i32  51 producerEpoch i16
 *   16 magic i8 = 2        27 baseTimestamp i64    53 baseSequence i32
 */
const lengthAt = 8;
const epochAt = 12;
const magicAt = 16;
const crcAt = 17;
const attributesAt = 21;
const lastOffsetDeltaAt = 23;
const baseTimestampAt = 27;
const maxTimestampAt = 35;
const producerIdAt = 43;
const producerEpochAt = 51;
const baseSequenceAt = 53;
const recordCountAt = 57;

/** Bytes of a batch header; the records section begins here. */
export const batchHeaderBytes = 61;
/** Bytes before and including the length field, which that length does not count. */
export const batchLogOverheadBytes = 12;
/** The only supported value of the magic byte. */
export const batchMagic = 2;
/** The fewest bytes that a record can take: seven fields of one byte. */
export const recordBytesMin = 7;

/** Compression codec of a records section, as in bits 0-2 of the attributes. */
export const codecs = { none: 0, gzip: 1, snappy: 2, lz4: 3, zstd: 4 } as const;
export type CodecName = keyof typeof codecs;
export type Codec = (typeof codecs)[CodecName];

/** Bits of the attributes above the codec. */
export const attributeBits = {
  codecMask: 0x07,
  appendTime: 0x08,
  transactional: 0x10,
  control: 0x20,
  deleteHorizon: 0x40,
} as const;

/**
 * What can be wrong with a batch.
 * - `BATCH_TRUNCATED`: fewer bytes than the header, or than its length field says.
 * - `BATCH_TRAILING`: bytes follow the batch.
 * - `BATCH_LENGTH`: the length field is smaller than a header.
 * - `BATCH_MAGIC`, `BATCH_CRC`: another format, or damaged.
 * - `BATCH_CODEC`: a codec number that is not assigned.
 * - `BATCH_COUNT`: record count, last offset delta and size contradict each other.
 * - `BATCH_RANGE`: an int64 field is no safe integer.
 */
export type BatchProblem =
  | 'BATCH_TRUNCATED'
  | 'BATCH_TRAILING'
  | 'BATCH_LENGTH'
  | 'BATCH_MAGIC'
  | 'BATCH_CRC'
  | 'BATCH_CODEC'
  | 'BATCH_COUNT'
  | 'BATCH_RANGE';

/** Whether every offset of a batch must hold a record: `sparse` is what compaction leaves behind. */
export type BatchDensity = 'dense' | 'sparse';

/** The field `batchLength`: bytes of the batch after that field. */
export function batchLength(buffer: Buffer, position: number): number {
  return buffer.readInt32BE(position + lengthAt);
}

/** Bytes of the whole batch. Like all accessors here: for a batch whose header lies within `buffer`. */
export function batchTotalBytes(buffer: Buffer, position: number): number {
  return batchLength(buffer, position) + batchLogOverheadBytes;
}

export function batchBaseOffset(buffer: Buffer, position: number): number {
  return readInt64(buffer, position);
}

/** Assigns the offset of the first record; outside the checksum. */
export function patchBaseOffset(buffer: Buffer, position: number, baseOffset: number): void {
  writeInt64(buffer, baseOffset, position);
}

/** Offset of the last record slot, which compaction may have emptied. */
export function batchLastOffset(buffer: Buffer, position: number): number {
  return batchBaseOffset(buffer, position) + batchLastOffsetDelta(buffer, position);
}

export function batchLeaderEpoch(buffer: Buffer, position: number): number {
  return buffer.readInt32BE(position + epochAt);
}

/** Assigns the owner's epoch; outside the checksum. */
export function patchLeaderEpoch(buffer: Buffer, position: number, leaderEpoch: number): void {
  buffer.writeInt32BE(leaderEpoch, position + epochAt);
}

export function batchMagicByte(buffer: Buffer, position: number): number {
  return buffer.readInt8(position + magicAt);
}

/** The stored checksum, unsigned. */
export function batchCrc(buffer: Buffer, position: number): number {
  return buffer.readUInt32BE(position + crcAt);
}

/** The checksum that the batch in `[start, end)` should carry; ~5 GB/s from 16 KiB on. */
export function computeBatchCrc(buffer: Buffer, start: number, end: number): number {
  return crc32c(buffer.subarray(start + attributesAt, end));
}

export function batchAttributes(buffer: Buffer, position: number): number {
  return buffer.readInt16BE(position + attributesAt);
}

/** Codec number; 5 to 7 are unassigned, and refused by `validateBatch`. */
export function batchCodec(buffer: Buffer, position: number): number {
  return batchAttributes(buffer, position) & attributeBits.codecMask;
}

/** True if the records' timestamps are the broker's time of append, which is then `batchMaxTimestamp`. */
export function batchHasAppendTime(buffer: Buffer, position: number): boolean {
  return (batchAttributes(buffer, position) & attributeBits.appendTime) !== 0;
}

export function batchIsTransactional(buffer: Buffer, position: number): boolean {
  return (batchAttributes(buffer, position) & attributeBits.transactional) !== 0;
}

export function batchIsControl(buffer: Buffer, position: number): boolean {
  return (batchAttributes(buffer, position) & attributeBits.control) !== 0;
}

export function batchLastOffsetDelta(buffer: Buffer, position: number): number {
  return buffer.readInt32BE(position + lastOffsetDeltaAt);
}

export function batchBaseTimestamp(buffer: Buffer, position: number): number {
  return readInt64(buffer, position + baseTimestampAt);
}

export function batchMaxTimestamp(buffer: Buffer, position: number): number {
  return readInt64(buffer, position + maxTimestampAt);
}

/** -1 if the producer is not idempotent. */
export function batchProducerId(buffer: Buffer, position: number): number {
  return readInt64(buffer, position + producerIdAt);
}

export function batchProducerEpoch(buffer: Buffer, position: number): number {
  return buffer.readInt16BE(position + producerEpochAt);
}

export function batchBaseSequence(buffer: Buffer, position: number): number {
  return buffer.readInt32BE(position + baseSequenceAt);
}

export function batchRecordCount(buffer: Buffer, position: number): number {
  return buffer.readInt32BE(position + recordCountAt);
}

/** Marks the batch as stamped by the broker at `timestamp`, and computes the checksum anew. */
export function stampAppendTime(buffer: Buffer, position: number, timestamp: number): void {
  buffer.writeInt16BE(batchAttributes(buffer, position) | attributeBits.appendTime, position + attributesAt);
  writeInt64(buffer, timestamp, position + maxTimestampAt);
  sealBatch(buffer, position, position + batchTotalBytes(buffer, position));
}

/** The fields of a header besides magic, length and checksum. */
export interface BatchFields {
  readonly baseOffset: number;
  readonly leaderEpoch: number;
  readonly attributes: number;
  readonly lastOffsetDelta: number;
  readonly baseTimestamp: number;
  readonly maxTimestamp: number;
  readonly producerId: number;
  readonly producerEpoch: number;
  readonly baseSequence: number;
  readonly recordCount: number;
}

/** Writes the header at `start` for the records section `[start + 61, end)` that is already in place, with checksum. */
export function writeBatchHeader(buffer: Buffer, start: number, end: number, fields: BatchFields): void {
  writeInt64(buffer, fields.baseOffset, start);
  buffer.writeInt32BE(end - start - batchLogOverheadBytes, start + lengthAt);
  buffer.writeInt32BE(fields.leaderEpoch, start + epochAt);
  buffer[start + magicAt] = batchMagic;
  buffer.writeInt16BE(fields.attributes, start + attributesAt);
  buffer.writeInt32BE(fields.lastOffsetDelta, start + lastOffsetDeltaAt);
  writeInt64(buffer, fields.baseTimestamp, start + baseTimestampAt);
  writeInt64(buffer, fields.maxTimestamp, start + maxTimestampAt);
  writeInt64(buffer, fields.producerId, start + producerIdAt);
  buffer.writeInt16BE(fields.producerEpoch, start + producerEpochAt);
  buffer.writeInt32BE(fields.baseSequence, start + baseSequenceAt);
  buffer.writeInt32BE(fields.recordCount, start + recordCountAt);
  sealBatch(buffer, start, end);
}

/** Reads what `writeBatchHeader` writes; an object per batch, so not for the produce path. */
export function readBatchFields(buffer: Buffer, position: number): BatchFields {
  return {
    baseOffset: batchBaseOffset(buffer, position),
    leaderEpoch: batchLeaderEpoch(buffer, position),
    attributes: batchAttributes(buffer, position),
    lastOffsetDelta: batchLastOffsetDelta(buffer, position),
    baseTimestamp: batchBaseTimestamp(buffer, position),
    maxTimestamp: batchMaxTimestamp(buffer, position),
    producerId: batchProducerId(buffer, position),
    producerEpoch: batchProducerEpoch(buffer, position),
    baseSequence: batchBaseSequence(buffer, position),
    recordCount: batchRecordCount(buffer, position),
  };
}

/**
 * Position after the batch at `at`, or -1 if `[at, end)` does not hold a whole one. Looks at the length only:
 * `for (let at = 0, next; (next = nextBatch(buffer, at)) !== -1; at = next)` visits each batch.
 */
export function nextBatch(buffer: Buffer, at: number, end = buffer.length): number {
  if (end - at < batchHeaderBytes) return -1;
  const total = batchTotalBytes(buffer, at);
  return total < batchHeaderBytes || total > end - at ? -1 : at + total;
}

/**
 * Checks that `[start, end)` is exactly one sound batch: size, magic, checksum, codec, counts. Never throws,
 * whatever the bytes; after `null` no accessor throws either. Records are not looked at. One pass of CRC-32C.
 */
export function validateBatch(
  buffer: Buffer,
  start: number,
  end: number,
  density: BatchDensity = 'dense',
): BatchProblem | null {
  const bytes = end - start;
  if (start < 0 || end > buffer.length || bytes < batchHeaderBytes) return 'BATCH_TRUNCATED';
  // Older formats have the magic byte in the same place, and a smaller header.
  if (batchMagicByte(buffer, start) !== batchMagic) return 'BATCH_MAGIC';
  const total = batchTotalBytes(buffer, start);
  if (total < batchHeaderBytes) return 'BATCH_LENGTH';
  if (total > bytes) return 'BATCH_TRUNCATED';
  if (total < bytes) return 'BATCH_TRAILING';
  if (batchCrc(buffer, start) !== computeBatchCrc(buffer, start, end)) return 'BATCH_CRC';
  return fieldProblem(buffer, start, end, density);
}

function fieldProblem(
  buffer: Buffer,
  start: number,
  end: number,
  density: BatchDensity,
): BatchProblem | null {
  const codec = batchCodec(buffer, start);
  if (codec > codecs.zstd) return 'BATCH_CODEC';
  const count = batchRecordCount(buffer, start);
  const lastDelta = batchLastOffsetDelta(buffer, start);
  if (density === 'dense' ? count <= 0 || lastDelta !== count - 1 : count < 0 || lastDelta < count - 1) {
    return 'BATCH_COUNT';
  }
  if (lastDelta < 0) return 'BATCH_COUNT';
  if (codec === codecs.none && count * recordBytesMin > end - start - batchHeaderBytes) return 'BATCH_COUNT';
  const safe =
    isSafeInt64(buffer, start) &&
    isSafeInt64(buffer, start + baseTimestampAt) &&
    isSafeInt64(buffer, start + maxTimestampAt) &&
    isSafeInt64(buffer, start + producerIdAt);
  return safe ? null : 'BATCH_RANGE';
}

function isSafeInt64(buffer: Buffer, at: number): boolean {
  const high = buffer.readInt32BE(at);
  return high < 0x20_0000 && high >= -0x1f_ffff;
}

function sealBatch(buffer: Buffer, start: number, end: number): void {
  buffer.writeUInt32BE(computeBatchCrc(buffer, start, end), start + crcAt);
}

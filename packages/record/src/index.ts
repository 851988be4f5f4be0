export type {
  BatchDensity,
  BatchFields,
  BatchProblem,
  Codec,
  CodecName,
} from './batch-header.ts';
export {
  attributeBits,
  batchAttributes,
  batchBaseOffset,
  batchBaseSequence,
  batchBaseTimestamp,
  batchCodec,
  batchCrc,
  batchHasAppendTime,
  batchHeaderBytes,
  batchIsControl,
  batchIsTransactional,
  batchLastOffset,
  batchLastOffsetDelta,
  batchLeaderEpoch,
  batchLength,
  batchLogOverheadBytes,
  batchMagic,
  batchMagicByte,
  batchMaxTimestamp,
  batchProducerEpoch,
  batchProducerId,
  batchRecordCount,
  batchTotalBytes,
  codecs,
  computeBatchCrc,
  nextBatch,
  patchBaseOffset,
  patchLeaderEpoch,
  readBatchFields,
  recordBytesMin,
  stampAppendTime,
  validateBatch,
  writeBatchHeader,
} from './batch-header.ts';
export type { BatchEncoderOptions, BatchFinish, EmptyBatchFields } from './batch-encoder.ts';
export { BatchEncoder, emptyBatch } from './batch-encoder.ts';
export type { RecordErrorCode } from './errors.ts';
export { copyBytes } from './copy-bytes.ts';
export { RunCopier } from './run-copier.ts';
export { HeaderCursor } from './header-cursor.ts';
export { HeaderEncoder } from './header-encoder.ts';
export { KeyCursor } from './key-cursor.ts';
export { murmur3, Murmur3 } from './murmur3.ts';
export { partitionHash } from './murmur2.ts';
export { RecordInput } from './record-input.ts';
export type { RecordsFrame, RecordTableOptions } from './record-table.ts';
export { RecordTable } from './record-table.ts';
export type { DecompressOptions } from './compression.ts';
export { compressBatch, decompressBatch, decompressBatchAsync } from './compression.ts';
export type { TimestampMatch } from './read-records.ts';
export { findOffsetByTimestamp, readRecords } from './read-records.ts';
export { loadZstd } from './zstd-codec.ts';

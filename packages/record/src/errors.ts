import { RobustError } from '@robustmq/core';

/**
 * What this package throws.
 * - `RECORD_MALFORMED`: the bytes of a records section or of a header block are not of the format.
 * - `RECORD_TOO_LARGE`: one record is above the encoder's `recordBytesMax`.
 * - `RECORD_TIMESTAMP`: a timestamp is no safe integer, or too far from the first one of its batch.
 * - `BATCH_UNDECODABLE`: the compressed section can't be decompressed.
 * - `BATCH_TOO_LARGE_UNCOMPRESSED`: decompressing would exceed the caller's limit; stopped before or at it.
 * - `BATCH_TOO_MANY_RECORDS`: more records than the table's limit.
 * - `BATCH_CODEC_NOT_LOADED`: zstd was asked for synchronously before `loadZstd` (retriable).
 * - `BATCH_CODEC_BUSY`: too many decompressions wait for the zstd thread (retriable).
 */
export type RecordErrorCode =
  | 'RECORD_MALFORMED'
  | 'RECORD_TOO_LARGE'
  | 'RECORD_TIMESTAMP'
  | 'BATCH_UNDECODABLE'
  | 'BATCH_TOO_LARGE_UNCOMPRESSED'
  | 'BATCH_TOO_MANY_RECORDS'
  | 'BATCH_CODEC_NOT_LOADED'
  | 'BATCH_CODEC_BUSY';

export function malformed(message: string, at: number): RobustError<RecordErrorCode> {
  return new RobustError<RecordErrorCode>('RECORD_MALFORMED', message, { detail: { at } });
}

export function undecodable(message: string, cause?: unknown): RobustError<RecordErrorCode> {
  return new RobustError<RecordErrorCode>('BATCH_UNDECODABLE', message, { cause });
}

/** `outputBytes`: what was decompressed before that was known; 0 where the batch itself says how large it is. */
export function tooLargeUncompressed(maxBytes: number, outputBytes = 0): RobustError<RecordErrorCode> {
  return new RobustError<RecordErrorCode>(
    'BATCH_TOO_LARGE_UNCOMPRESSED',
    'a batch decompresses to more than the limit',
    { detail: { maxBytes, outputBytes } },
  );
}

import { assert, RobustError } from '@robustmq/core';
import { batchHeaderBytes, writeBatchHeader } from './batch-header.ts';
import { copyBytes } from './copy-bytes.ts';
import type { RecordErrorCode } from './errors.ts';
import type { RecordInput } from './record-input.ts';
import { RunCopier } from './run-copier.ts';
import { varintBytes, varlongBytes, varlongMax, writeVarint, writeVarlong } from './varint.ts';

/** Limits of a `BatchEncoder`, in bytes. */
export interface BatchEncoderOptions {
  /** First size of the buffer. Default 4 KiB. */
  readonly initialBytes?: number;
  /** A batch of several records stays at or below this, header included. Default 256 KiB. */
  readonly batchBytesMax?: number;
  /** A record above this is refused. Default 64 MiB. */
  readonly recordBytesMax?: number;
}

/** Header fields that the records do not decide. All default to "none": offset 0, epoch and producer -1. */
export interface BatchFinish {
  readonly baseOffset?: number;
  readonly leaderEpoch?: number;
  /** Bits above the codec; see `attributeBits`. */
  readonly attributes?: number;
  readonly producerId?: number;
  readonly producerEpoch?: number;
  readonly baseSequence?: number;
}

/**
 * Encodes records into one uncompressed batch, and is used again after `finish`. The header's 61 bytes are
 * reserved in place, so that finishing costs one checksum; appending allocates nothing but the growing buffer
 * (~6 M records/s of 110 bytes on one core; `bench` case `record-encode`).
 */
export class BatchEncoder {
  readonly #initialBytes: number;
  readonly #batchBytesMax: number;
  readonly #recordBytesMax: number;
  readonly #values = new RunCopier();
  #buffer: Buffer;
  #at = batchHeaderBytes;
  #count = 0;
  #baseTimestamp = -1;
  #maxTimestamp = -1;

  constructor(options: BatchEncoderOptions = {}) {
    this.#initialBytes = Math.max(options.initialBytes ?? 4096, 2 * batchHeaderBytes);
    this.#batchBytesMax = options.batchBytesMax ?? 256 * 1024;
    this.#recordBytesMax = options.recordBytesMax ?? 64 * 1024 * 1024;
    this.#buffer = Buffer.allocUnsafeSlow(this.#initialBytes);
  }

  /** Records appended since the last `finish`. */
  get count(): number {
    return this.#count;
  }

  /** Bytes of the batch if it were finished now, header included. */
  get bytes(): number {
    return this.#at;
  }

  /** Timestamp of the first record, -1 before it. */
  get baseTimestamp(): number {
    return this.#baseTimestamp;
  }

  /** Highest timestamp so far, -1 before the first record. */
  get maxTimestamp(): number {
    return this.#maxTimestamp;
  }

  /**
   * Copies one record in. Returns false, with nothing changed, if the batch has records and would grow above
   * `batchBytesMax`: finish it and append again. The first record may be larger (semantics: "or one larger record").
   * Throws `RECORD_TOO_LARGE`, `RECORD_TIMESTAMP`.
   */
  append(record: RecordInput): boolean {
    const count = this.#count;
    const timestamp = record.timestamp;
    const delta = count === 0 ? 0 : timestamp - this.#baseTimestamp;
    if (!Number.isSafeInteger(timestamp) || delta > varlongMax || delta < -varlongMax) {
      throw badTimestamp(timestamp);
    }
    // Null is encoded as a length of -1.
    const keyBytes = record.keyStart < 0 ? -1 : record.keyEnd - record.keyStart;
    const valueBytes = record.valueStart < 0 ? -1 : record.valueEnd - record.valueStart;
    const headersBytes = record.headersEnd - record.headersStart;
    // Integers of one byte, which nearly all are, are sized and written in place: a third of the whole cost.
    const body =
      1 +
      (delta < 64 && delta >= -64 ? 1 : varlongBytes(delta)) +
      (count < 64 ? 1 : varintBytes(count)) +
      (keyBytes < 64 ? 1 : varintBytes(keyBytes)) +
      (keyBytes > 0 ? keyBytes : 0) +
      (valueBytes < 64 ? 1 : varintBytes(valueBytes)) +
      (valueBytes > 0 ? valueBytes : 0) +
      (record.headerCount < 64 ? 1 : varintBytes(record.headerCount)) +
      headersBytes;
    const need = this.#at + (body < 64 ? 1 : varintBytes(body)) + body;
    if (need > this.#batchBytesMax && count > 0) return false;
    if (body > this.#recordBytesMax) throw tooLarge(body, this.#recordBytesMax);
    if (need > this.#buffer.length) this.#grow(need);

    const buffer = this.#buffer;
    let at = this.#at;
    if (body < 64) buffer[at++] = body << 1;
    else at = writeVarint(buffer, at, body);
    buffer[at++] = 0;
    if (delta < 64 && delta >= 0) buffer[at++] = delta << 1;
    else at = writeVarlong(buffer, at, delta);
    if (count < 64) buffer[at++] = count << 1;
    else at = writeVarint(buffer, at, count);
    if (keyBytes < 64) buffer[at++] = keyBytes < 0 ? 1 : keyBytes << 1;
    else at = writeVarint(buffer, at, keyBytes);
    if (keyBytes > 0) at = copyBytes(buffer, at, record.key, record.keyStart, record.keyEnd);
    if (valueBytes < 64) buffer[at++] = valueBytes < 0 ? 1 : valueBytes << 1;
    else at = writeVarint(buffer, at, valueBytes);
    if (valueBytes > 0) at = this.#values.copy(buffer, at, record.value, record.valueStart, record.valueEnd);
    if (record.headerCount < 64) buffer[at++] = record.headerCount << 1;
    else at = writeVarint(buffer, at, record.headerCount);
    if (headersBytes > 0) {
      at = copyBytes(buffer, at, record.headers, record.headersStart, record.headersEnd);
    }
    assert(at === need, 'a record fills the bytes computed for it');

    this.#at = at;
    this.#count = count + 1;
    if (count === 0) {
      this.#baseTimestamp = timestamp;
      this.#maxTimestamp = timestamp;
    } else if (timestamp > this.#maxTimestamp) {
      this.#maxTimestamp = timestamp;
    }
    return true;
  }

  /** Closes the batch and returns its bytes, which belong to the caller. The encoder is empty again. */
  finish(fields: BatchFinish = {}): Buffer {
    const count = this.#count;
    assert(count > 0, 'a batch is finished with records in it');
    const end = this.#at;
    writeBatchHeader(this.#buffer, 0, end, {
      baseOffset: fields.baseOffset ?? 0,
      leaderEpoch: fields.leaderEpoch ?? -1,
      attributes: fields.attributes ?? 0,
      lastOffsetDelta: count - 1,
      baseTimestamp: this.#baseTimestamp,
      maxTimestamp: this.#maxTimestamp,
      producerId: fields.producerId ?? -1,
      producerEpoch: fields.producerEpoch ?? -1,
      baseSequence: fields.baseSequence ?? -1,
      recordCount: count,
    });
    const batch = this.#handOver(end);
    this.reset();
    return batch;
  }

  /** Drops the records appended so far. */
  reset(): void {
    this.#at = batchHeaderBytes;
    this.#count = 0;
    this.#baseTimestamp = -1;
    this.#maxTimestamp = -1;
    this.#values.clear();
  }

  /** A well filled buffer changes hands, and the next one is as large as this turned out; others are copied. */
  #handOver(end: number): Buffer {
    const buffer = this.#buffer;
    if (end * 2 > buffer.length) {
      this.#buffer = Buffer.allocUnsafeSlow(Math.min(buffer.length, this.#keptBytesMax()));
      return end === buffer.length ? buffer : buffer.subarray(0, end);
    }
    const batch = Buffer.allocUnsafe(end);
    buffer.copy(batch, 0, 0, end);
    // A burst does not leave a large buffer behind for ever.
    if (end * 8 < buffer.length && buffer.length > this.#initialBytes) {
      this.#buffer = Buffer.allocUnsafeSlow(Math.max(buffer.length >>> 1, this.#initialBytes));
    }
    return batch;
  }

  #keptBytesMax(): number {
    return Math.max(this.#batchBytesMax, this.#initialBytes);
  }

  #grow(need: number): void {
    let bytes = this.#buffer.length * 2;
    // Doubling ends at the batch limit, which the last record of a full batch reaches exactly.
    if (bytes > this.#batchBytesMax && need <= this.#batchBytesMax) bytes = this.#batchBytesMax;
    const grown = Buffer.allocUnsafeSlow(Math.max(bytes, need));
    this.#buffer.copy(grown, 0, 0, this.#at);
    this.#buffer = grown;
  }
}

/** Header fields of an empty batch: those of the batch that compaction emptied. */
export interface EmptyBatchFields extends BatchFinish {
  readonly lastOffsetDelta: number;
  readonly baseTimestamp?: number;
  readonly maxTimestamp?: number;
}

/**
 * A batch without records that keeps its place in the log and its producer's sequence, which is what
 * compaction leaves of the last batch of a producer.
 */
export function emptyBatch(fields: EmptyBatchFields): Buffer {
  const batch = Buffer.allocUnsafe(batchHeaderBytes);
  writeBatchHeader(batch, 0, batchHeaderBytes, {
    baseOffset: fields.baseOffset ?? 0,
    leaderEpoch: fields.leaderEpoch ?? -1,
    attributes: fields.attributes ?? 0,
    lastOffsetDelta: fields.lastOffsetDelta,
    baseTimestamp: fields.baseTimestamp ?? -1,
    maxTimestamp: fields.maxTimestamp ?? -1,
    producerId: fields.producerId ?? -1,
    producerEpoch: fields.producerEpoch ?? -1,
    baseSequence: fields.baseSequence ?? -1,
    recordCount: 0,
  });
  return batch;
}

function badTimestamp(timestamp: number): RobustError<RecordErrorCode> {
  return new RobustError<RecordErrorCode>('RECORD_TIMESTAMP', 'a timestamp is out of range', {
    detail: { timestamp },
  });
}

function tooLarge(bytes: number, bytesMax: number): RobustError<RecordErrorCode> {
  return new RobustError<RecordErrorCode>('RECORD_TOO_LARGE', 'a record is larger than the limit', {
    detail: { bytes, bytesMax },
  });
}

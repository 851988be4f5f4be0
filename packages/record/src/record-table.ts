import { assert, RobustError } from '@robustmq/core';
import { recordBytesMin } from './batch-header.ts';
import type { RecordErrorCode } from './errors.ts';
import { malformed } from './errors.ts';
import type { HeaderCursor } from './header-cursor.ts';
import type { RecordInput } from './record-input.ts';
import { VarintReader } from './varint-reader.ts';

/** A table above this many rows is given back when a much smaller batch follows. */
const keptRows = 65_536;
const nothing = Buffer.alloc(0);

export interface RecordTableOptions {
  /** Batches with more records throw `BATCH_TOO_MANY_RECORDS`. Default 2^20, which takes 44 MiB of columns. */
  readonly recordsMax?: number;
}

/** What the header says about the records; `read` needs the count, the getters by row need the rest. */
export interface RecordsFrame {
  readonly count: number;
  /** No record's offset delta is above this. Default: no bound. */
  readonly lastOffsetDelta?: number;
  readonly baseOffset?: number;
  readonly baseTimestamp?: number;
  /** The broker's time of append, which replaces every record's own timestamp. Default: none. */
  readonly appendTimestamp?: number;
}

/**
 * A decoded records section as columns: positions in `buffer`, one row a record, rows `0..count-1`. One pass,
 * no object per record; the columns are used again by the next `read`, which replaces all of it
 * (~8 M records/s of 110 bytes on one core; `bench` case `record-decode`).
 */
export class RecordTable {
  /** The uncompressed section that the positions refer to. */
  buffer: Buffer = nothing;
  count = 0;
  baseOffset = 0;
  baseTimestamp = 0;
  /** -1 if each record has its own timestamp. */
  appendTimestamp = -1;
  /** -1 where the key is null. */
  keyStart = new Int32Array(0);
  keyEnd = new Int32Array(0);
  /** -1 where the value is null. */
  valueStart = new Int32Array(0);
  valueEnd = new Int32Array(0);
  headersStart = new Int32Array(0);
  headersEnd = new Int32Array(0);
  headerCount = new Int32Array(0);
  offsetDelta = new Int32Array(0);
  timestampDelta = new Float64Array(0);
  readonly #recordsMax: number;
  readonly #reader = new VarintReader();

  constructor(options: RecordTableOptions = {}) {
    this.#recordsMax = options.recordsMax ?? 1 << 20;
  }

  /**
   * Reads the uncompressed section `buffer[start, end)`, header blocks included. Throws `RECORD_MALFORMED` unless it holds
   * exactly `frame.count` records that end where they say, with rising offsets, and
   * `BATCH_TOO_MANY_RECORDS`; the table is then empty.
   */
  read(buffer: Buffer, start: number, end: number, frame: RecordsFrame): this {
    assert(start >= 0 && start <= end && end <= buffer.length, 'a records section lies within its buffer');
    this.clear();
    const count = frame.count;
    // Before anything is allocated: a count that lies costs nothing.
    if (count < 0 || count * recordBytesMin > end - start) throw malformed('a record count is wrong', start);
    if (count > this.#recordsMax) throw tooMany(count, this.#recordsMax);
    this.#reserve(count);
    this.#fill(buffer, start, end, count);
    if (count > 0 && frame.lastOffsetDelta !== undefined) {
      const last = this.offsetDelta[count - 1] as number;
      if (last > frame.lastOffsetDelta) throw malformed('a record lies beyond its batch', start);
    }
    this.buffer = buffer;
    this.count = count;
    this.baseOffset = frame.baseOffset ?? 0;
    this.baseTimestamp = frame.baseTimestamp ?? 0;
    this.appendTimestamp = frame.appendTimestamp ?? -1;
    return this;
  }

  /** Empties the table and lets go of the buffer; the columns stay for the next `read`. */
  clear(): void {
    this.buffer = nothing;
    this.count = 0;
  }

  /** Offset of a row. */
  offset(row: number): number {
    return this.baseOffset + (this.offsetDelta[row] as number);
  }

  /** Timestamp of a row in milliseconds: its own, or the batch's time of append. */
  timestamp(row: number): number {
    return this.appendTimestamp >= 0
      ? this.appendTimestamp
      : this.baseTimestamp + (this.timestampDelta[row] as number);
  }

  /** A view of the key, or null. Allocates: for code that is not run per record. */
  key(row: number): Buffer | null {
    const start = this.keyStart[row] as number;
    return start < 0 ? null : this.buffer.subarray(start, this.keyEnd[row]);
  }

  /** A view of the value, or null. Allocates, as `key`. */
  value(row: number): Buffer | null {
    const start = this.valueStart[row] as number;
    return start < 0 ? null : this.buffer.subarray(start, this.valueEnd[row]);
  }

  /** Puts `cursor` before the first header of a row. */
  headers(row: number, cursor: HeaderCursor): HeaderCursor {
    return cursor.open(
      this.buffer,
      this.headersStart[row] as number,
      this.headersEnd[row] as number,
      this.headerCount[row] as number,
    );
  }

  /** Fills `input` with a row, headers as they are encoded, so that an encoder copies it into another batch. */
  toInput(row: number, input: RecordInput): RecordInput {
    input.timestamp = this.timestamp(row);
    input.key = this.buffer;
    input.keyStart = this.keyStart[row] as number;
    input.keyEnd = this.keyEnd[row] as number;
    input.value = this.buffer;
    input.valueStart = this.valueStart[row] as number;
    input.valueEnd = this.valueEnd[row] as number;
    input.headers = this.buffer;
    input.headersStart = this.headersStart[row] as number;
    input.headersEnd = this.headersEnd[row] as number;
    input.headerCount = this.headerCount[row] as number;
    return input;
  }

  #reserve(rows: number): void {
    const had = this.keyStart.length;
    const shrink = had > keptRows && rows < had / 8;
    if (rows <= had && !shrink) return;
    const capacity = shrink ? keptRows : Math.min(Math.max(64, rows, had * 2), this.#recordsMax);
    this.keyStart = new Int32Array(capacity);
    this.keyEnd = new Int32Array(capacity);
    this.valueStart = new Int32Array(capacity);
    this.valueEnd = new Int32Array(capacity);
    this.headersStart = new Int32Array(capacity);
    this.headersEnd = new Int32Array(capacity);
    this.headerCount = new Int32Array(capacity);
    this.offsetDelta = new Int32Array(capacity);
    this.timestampDelta = new Float64Array(capacity);
  }

  /** The pass. Long for one reason: each one-byte integer is decoded in place, which is nearly all of them. */
  #fill(buffer: Buffer, start: number, end: number, count: number): void {
    const reader = this.#reader;
    const { keyStart, keyEnd, valueStart, valueEnd, headersStart, headersEnd, headerCount } = this;
    const { offsetDelta, timestampDelta } = this;
    let at = start;
    let previousDelta = -1;
    for (let row = 0; row < count; row++) {
      let byte = at < end ? (buffer[at] as number) : 0x80;
      let length: number;
      if (byte < 0x80) {
        length = (byte >>> 1) ^ -(byte & 1);
        at++;
      } else {
        length = reader.int32(buffer, at, end);
        at = reader.at;
      }
      if (length < recordBytesMin - 1 || length > end - at) throw malformed('a record length is wrong', at);
      const recordEnd = at + length;
      at++; // The attributes of a record are unused.

      byte = buffer[at] as number;
      if (byte < 0x80) {
        timestampDelta[row] = (byte >>> 1) ^ -(byte & 1);
        at++;
      } else {
        timestampDelta[row] = reader.safeInt64(buffer, at, recordEnd);
        at = reader.at;
      }

      const delta = reader.int32(buffer, at, recordEnd);
      at = reader.at;
      if (delta <= previousDelta) throw malformed('offsets of records do not rise', at);
      offsetDelta[row] = delta;
      previousDelta = delta;

      byte = at < recordEnd ? (buffer[at] as number) : 0x80;
      if (byte < 0x80) {
        length = (byte >>> 1) ^ -(byte & 1);
        at++;
      } else {
        length = reader.int32(buffer, at, recordEnd);
        at = reader.at;
      }
      if (length < -1 || length > recordEnd - at) throw malformed('a key length is wrong', at);
      keyStart[row] = length < 0 ? -1 : at;
      if (length > 0) at += length;
      keyEnd[row] = length < 0 ? -1 : at;

      byte = at < recordEnd ? (buffer[at] as number) : 0x80;
      if (byte < 0x80) {
        length = (byte >>> 1) ^ -(byte & 1);
        at++;
      } else {
        length = reader.int32(buffer, at, recordEnd);
        at = reader.at;
      }
      if (length < -1 || length > recordEnd - at) throw malformed('a value length is wrong', at);
      valueStart[row] = length < 0 ? -1 : at;
      if (length > 0) at += length;
      valueEnd[row] = length < 0 ? -1 : at;

      const headers = reader.int32(buffer, at, recordEnd);
      at = reader.at;
      headersStart[row] = at;
      headersEnd[row] = recordEnd;
      headerCount[row] = headers;
      if (headers !== 0) at = this.#skipHeaders(buffer, at, recordEnd, headers);
      if (at !== recordEnd) throw malformed('a record is longer than its fields', at);
    }
    if (at !== end) throw malformed('bytes follow the last record', at);
  }

  /** Checks a header block, so that cursors over it can't fail later; returns the position after it. */
  #skipHeaders(buffer: Buffer, start: number, end: number, count: number): number {
    const reader = this.#reader;
    let at = start;
    // A header takes two bytes at least.
    if (count < 0 || count * 2 > end - start) throw malformed('a header count is wrong', start);
    for (let i = 0; i < count * 2; i++) {
      const byte = at < end ? (buffer[at] as number) : 0x80;
      let length: number;
      if (byte < 0x80) {
        length = (byte >>> 1) ^ -(byte & 1);
        at++;
      } else {
        length = reader.int32(buffer, at, end);
        at = reader.at;
      }
      // Names are at even places, and never null.
      if (length < 0 && (length < -1 || i % 2 === 0)) throw malformed('a header length is wrong', at);
      if (length > end - at) throw malformed('a header is cut off', at);
      if (length > 0) at += length;
    }
    return at;
  }
}

function tooMany(count: number, recordsMax: number): RobustError<RecordErrorCode> {
  return new RobustError<RecordErrorCode>('BATCH_TOO_MANY_RECORDS', 'a batch has too many records', {
    detail: { count, recordsMax },
  });
}

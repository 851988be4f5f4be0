import { crc32c, writeInt64 } from '@robustmq/core';

/** Positions in the header of record batch v2. */
export const batchHeaderBytes = 61;
const lengthAt = 8;
const magicAt = 16;
const crcAt = 17;
const attributesAt = 21;
const lastOffsetDeltaAt = 23;
const producerIdAt = 43;
const recordCountAt = 57;

/** Bytes before and including the length field, which that field does not count. */
const lengthExcess = 12;

/** A batch of `count` records without key or headers, all with the same value. */
export function recordBatch(value: Uint8Array, count: number, timestampMs: number): Buffer {
  const bytes = Buffer.alloc(recordBatchBytes(value.length, count));
  let at = batchHeaderBytes;
  for (let i = 0; i < count; i++) {
    at = writeVarint(bytes, at, recordBodyBytes(value.length, i));
    bytes[at] = 0;
    bytes[at + 1] = 0;
    at = writeVarint(bytes, at + 2, i);
    at = writeVarint(bytes, at, -1);
    at = writeVarint(bytes, at, value.length);
    bytes.set(value, at);
    at = writeVarint(bytes, at + value.length, 0);
  }
  bytes.writeInt32BE(bytes.length - lengthExcess, lengthAt);
  bytes[magicAt] = 2;
  bytes.writeInt32BE(count - 1, lastOffsetDeltaAt);
  writeInt64(bytes, timestampMs, 27);
  writeInt64(bytes, timestampMs, 35);
  // No producer: id, epoch and sequence are all -1.
  bytes.fill(0xff, producerIdAt, recordCountAt);
  bytes.writeInt32BE(count, recordCountAt);
  bytes.writeUInt32BE(crc32c(bytes.subarray(attributesAt)), crcAt);
  return bytes;
}

/** Size of the batch that `recordBatch` would make. */
export function recordBatchBytes(valueBytes: number, count: number): number {
  let bytes = batchHeaderBytes;
  for (let i = 0; i < count; i++) {
    const body = recordBodyBytes(valueBytes, i);
    bytes += varintBytes(body) + body;
  }
  return bytes;
}

/** How many records of `valueBytes` fit a batch of at most `batchBytesMax`; at least one. */
export function recordsThatFit(valueBytes: number, batchBytesMax: number): number {
  let count = 1;
  while (recordBatchBytes(valueBytes, count + 1) <= batchBytesMax) count++;
  return count;
}

/** Length of the whole batch at `at`, or 0 where its length field is not within `end`. */
export function batchBytesAt(bytes: Buffer, at: number, end: number): number {
  return end - at < lengthExcess ? 0 : bytes.readInt32BE(at + lengthAt) + lengthExcess;
}

export function recordCountOf(bytes: Buffer, at: number): number {
  return bytes.readInt32BE(at + recordCountAt);
}

export function lastOffsetDeltaOf(bytes: Buffer, at: number): number {
  return bytes.readInt32BE(at + lastOffsetDeltaAt);
}

/** True when the checksum of the whole batch in [at, end) holds. */
export function batchChecksumHolds(bytes: Buffer, at: number, end: number): boolean {
  return crc32c(bytes.subarray(at + attributesAt, end)) === bytes.readUInt32BE(at + crcAt);
}

/** Shows the value of each record of the batch at [at, end), which must not be compressed; null values are passed over. */
export function eachValue(
  bytes: Buffer,
  at: number,
  end: number,
  visit: (valueAt: number, valueEnd: number) => void,
): void {
  if ((bytes.readInt16BE(at + attributesAt) & 7) !== 0) throw new Error('the batch is compressed');
  const cursor = new VarintCursor(bytes, at + batchHeaderBytes);
  const count = recordCountOf(bytes, at);
  for (let i = 0; i < count; i++) {
    const length = cursor.next();
    const recordEnd = cursor.at + length;
    if (length < 0 || recordEnd > end) throw new Error('a record is longer than its batch');
    cursor.at++;
    // The timestamp's delta may have more than 32 bits; nothing here needs it.
    cursor.skip();
    cursor.skip();
    const keyBytes = cursor.next();
    cursor.at += Math.max(0, keyBytes);
    const valueBytes = cursor.next();
    if (valueBytes >= 0) visit(cursor.at, cursor.at + valueBytes);
    cursor.at = recordEnd;
  }
}

/** Zigzag varints one after the other. */
class VarintCursor {
  at: number;
  readonly #bytes: Buffer;

  constructor(bytes: Buffer, at: number) {
    this.#bytes = bytes;
    this.at = at;
  }

  next(): number {
    let value = 0;
    for (let shift = 0; shift < 35; shift += 7) {
      const byte = this.#bytes[this.at++] as number;
      value |= (byte & 0x7f) << shift;
      if (byte < 0x80) break;
    }
    return (value >>> 1) ^ -(value & 1);
  }

  skip(): void {
    while ((this.#bytes[this.at++] as number) >= 0x80);
  }
}

/** Attributes, timestamp delta 0, offset delta, null key, value, no headers. */
function recordBodyBytes(valueBytes: number, offsetDelta: number): number {
  return 1 + 1 + varintBytes(offsetDelta) + 1 + varintBytes(valueBytes) + valueBytes + 1;
}

function writeVarint(bytes: Uint8Array, at: number, value: number): number {
  let rest = ((value << 1) ^ (value >> 31)) >>> 0;
  let to = at;
  while (rest > 0x7f) {
    bytes[to++] = (rest & 0x7f) | 0x80;
    rest >>>= 7;
  }
  bytes[to++] = rest;
  return to;
}

function varintBytes(value: number): number {
  let rest = ((value << 1) ^ (value >> 31)) >>> 0;
  let bytes = 1;
  while (rest > 0x7f) {
    bytes++;
    rest >>>= 7;
  }
  return bytes;
}

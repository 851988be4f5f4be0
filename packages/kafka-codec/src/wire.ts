import { codecError } from './errors.ts';

/** The uuid that means "none". */
export const zeroUuid = '00000000000000000000000000000000';

/** Stands for the int64 2^63-1, which the protocol uses as "no limit" and which no number holds exactly. */
export const maxInt64 = Number.MAX_SAFE_INTEGER;

/** More tagged fields than any version has, few enough that skipping them is cheap. */
export const taggedFieldsMax = 64;

const two32 = 0x1_0000_0000;

/** The reader reached the end of the frame. */
export function short(at: number, end: number): never {
  throw codecError('KAFKA_CODEC_TRUNCATED', 'the message ends early', { at, end });
}

export function malformed(at: number, what: string): never {
  throw codecError('KAFKA_CODEC_MALFORMED', what, { at });
}

export function excess(at: number, what: string): never {
  throw codecError('KAFKA_CODEC_LIMIT_EXCEEDED', what, { at });
}

// The plain readers below do not look at the end: whoever calls them has checked it, once for a run of fields.

export function int8(b: Buffer, at: number): number {
  return ((b[at] as number) << 24) >> 24;
}

export function int16(b: Buffer, at: number): number {
  return (((b[at] as number) << 24) >> 16) | (b[at + 1] as number);
}

export function uint16(b: Buffer, at: number): number {
  return ((b[at] as number) << 8) | (b[at + 1] as number);
}

export function int32(b: Buffer, at: number): number {
  return (
    ((b[at] as number) << 24) |
    ((b[at + 1] as number) << 16) |
    ((b[at + 2] as number) << 8) |
    (b[at + 3] as number)
  );
}

export function int64(b: Buffer, at: number): number {
  const high = int32(b, at);
  const low = int32(b, at + 4) >>> 0;
  const value = high * two32 + low;
  if (Number.isSafeInteger(value)) return value;
  if (high === 0x7fffffff && low === 0xffffffff) return maxInt64;
  throw codecError('KAFKA_CODEC_INT64_UNSAFE', 'an int64 is beyond the safe integers', { at });
}

export function float64(b: Buffer, at: number): number {
  return b.readDoubleBE(at);
}

export function bool(b: Buffer, at: number): boolean {
  return b[at] !== 0;
}

export function uuid(b: Buffer, at: number): string {
  return b.toString('hex', at, at + 16);
}

/** UTF-8 text; bytes that are no UTF-8 become U+FFFD, as they do in the Java server. */
export function text(b: Buffer, at: number, length: number): string {
  return length === 0 ? '' : b.toString('utf8', at, at + length);
}

/** An unsigned varint of at most 32 bits. The position behind it is `afterUvarint(b, at)`. */
export function uvarint(b: Buffer, at: number, end: number): number {
  const first = b[at] as number;
  return at < end && first < 128 ? first : longUvarint(b, at, end);
}

function longUvarint(b: Buffer, at: number, end: number): number {
  let value = 0;
  let scale = 1;
  for (let i = at; ; i++) {
    if (i >= end) short(at, end);
    const byte = b[i] as number;
    if (byte < 128) {
      if (i === at + 4 && byte > 15) malformed(at, 'a varint has more than 32 bits');
      return value + byte * scale;
    }
    if (i === at + 4) malformed(at, 'a varint is longer than 5 bytes');
    value += (byte - 128) * scale;
    scale *= 128;
  }
}

/** The position behind a varint that `uvarint` has read. */
export function afterUvarint(b: Buffer, at: number): number {
  let i = at;
  while ((b[i] as number) > 127) i++;
  return i + 1;
}

/** Length of a classic string that may not be null, checked against the rest of the message; 2 bytes long. */
export function length16(b: Buffer, at: number, end: number): number {
  const length = nullableLength16(b, at, end);
  return length < 0 ? malformed(at, 'a string is null that must not be') : length;
}

/** As `length16`, -1 for null. */
export function nullableLength16(b: Buffer, at: number, end: number): number {
  if (end - at < 2) short(at, end);
  const length = int16(b, at);
  if (length < -1) malformed(at, 'a length is negative');
  if (length > end - at - 2) short(at, end);
  return length;
}

/** Length of classic bytes or records that may not be null; 4 bytes long. */
export function length32(b: Buffer, at: number, end: number): number {
  const length = nullableLength32(b, at, end);
  return length < 0 ? malformed(at, 'a byte field is null that must not be') : length;
}

/** As `length32`, -1 for null. */
export function nullableLength32(b: Buffer, at: number, end: number): number {
  if (end - at < 4) short(at, end);
  const length = int32(b, at);
  if (length < -1) malformed(at, 'a length is negative');
  if (length > end - at - 4) short(at, end);
  return length;
}

/** Length of a compact string, bytes or records that may not be null. Ends at `afterUvarint(b, at)`. */
export function compactLength(b: Buffer, at: number, end: number): number {
  const length = nullableCompactLength(b, at, end);
  return length < 0 ? malformed(at, 'a field is null that must not be') : length;
}

/** As `compactLength`, -1 for null. */
export function nullableCompactLength(b: Buffer, at: number, end: number): number {
  const length = uvarint(b, at, end) - 1;
  if (length > end - afterUvarint(b, at)) short(at, end);
  return length;
}

/**
 * Element count of a classic array, refused before anything is allocated for it when the rest of the message
 * cannot hold that many elements of `minBytes` each. 4 bytes long.
 */
export function count32(b: Buffer, at: number, end: number, minBytes: number): number {
  const count = nullableCount32(b, at, end, minBytes);
  return count < 0 ? malformed(at, 'an array is null that must not be') : count;
}

/** As `count32`, -1 for null. */
export function nullableCount32(b: Buffer, at: number, end: number, minBytes: number): number {
  if (end - at < 4) short(at, end);
  const count = int32(b, at);
  if (count < -1) malformed(at, 'a count is negative');
  if (count * minBytes > end - at - 4) excess(at, 'a count exceeds what the message can hold');
  return count;
}

/** Element count of a compact array, checked as in `count32`. Ends at `afterUvarint(b, at)`. */
export function compactCount(b: Buffer, at: number, end: number, minBytes: number): number {
  const count = nullableCompactCount(b, at, end, minBytes);
  return count < 0 ? malformed(at, 'an array is null that must not be') : count;
}

/** As `compactCount`, -1 for null. */
export function nullableCompactCount(b: Buffer, at: number, end: number, minBytes: number): number {
  const count = uvarint(b, at, end) - 1;
  if (count * minBytes > end - afterUvarint(b, at)) excess(at, 'a count exceeds what the message can hold');
  return count;
}

/** Number of tagged fields at the end of a flexible structure. Ends at `afterUvarint(b, at)`. */
export function tagCount(b: Buffer, at: number, end: number): number {
  const count = uvarint(b, at, end);
  return count > taggedFieldsMax ? excess(at, 'a structure has too many tagged fields') : count;
}

/** Bytes of one tagged field, checked against the rest of the message. Ends at `afterUvarint(b, at)`. */
export function tagSize(b: Buffer, at: number, end: number): number {
  const size = uvarint(b, at, end);
  return size > end - afterUvarint(b, at) ? short(at, end) : size;
}

/** Steps over tagged fields of which none is known; returns the position behind them. */
export function skipTags(b: Buffer, at: number, end: number): number {
  return at < end && b[at] === 0 ? at + 1 : skipSomeTags(b, at, end);
}

function skipSomeTags(b: Buffer, at: number, end: number): number {
  let count = tagCount(b, at, end);
  let p = afterUvarint(b, at);
  for (; count > 0; count--) {
    uvarint(b, p, end);
    p = afterUvarint(b, p);
    const size = tagSize(b, p, end);
    p = afterUvarint(b, p) + size;
  }
  return p;
}

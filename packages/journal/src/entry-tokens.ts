import type { TokenSink } from '@robustmq/kernel';
import { entryFlag, keyTokens } from '@robustmq/kernel';
import { batchCodec, batchHeaderBytes, batchIsControl, batchRecordCount, nextBatch } from '@robustmq/record';

/**
 * Gives `out` the tokens of every record key in an entry's payload; false when some key can't be seen: a compressed
 * batch, or one whose records are not of the format. Then the block that holds the entry matches everything.
 * About 0.1 us a record.
 */
export function entryTokens(payload: Buffer, flags: number, out: TokenSink): boolean {
  if ((flags & entryFlag.control) !== 0) return true;
  let at = 0;
  while (at < payload.length) {
    const end = nextBatch(payload, at);
    if (end < 0) return false;
    if (!batchIsControl(payload, at)) {
      if (batchCodec(payload, at) !== 0) return false;
      if (!batchTokens(payload, at, end, out)) return false;
    }
    at = end;
  }
  return true;
}

/** Walks from record to record by length and looks at nothing but the key. */
function batchTokens(bytes: Buffer, start: number, end: number, out: TokenSink): boolean {
  const count = batchRecordCount(bytes, start);
  let at = start + batchHeaderBytes;
  let previousStart = -2;
  let previousEnd = -2;
  for (let record = 0; record < count; record++) {
    // Record length.
    let value = 0;
    let shift = 0;
    let byte = 0x80;
    while (byte >= 0x80) {
      if (at >= end || shift > 28) return false;
      byte = bytes[at++]!;
      value |= (byte & 0x7f) << shift;
      shift += 7;
    }
    const length = (value >>> 1) ^ -(value & 1);
    const recordEnd = at + length;
    if (length < 0 || recordEnd > end) return false;
    at++;
    // Timestamp delta and offset delta.
    for (let skipped = 0; skipped < 2; skipped++) {
      while (at < recordEnd && bytes[at]! >= 0x80) at++;
      at++;
    }
    // Key length.
    value = 0;
    shift = 0;
    byte = 0x80;
    while (byte >= 0x80) {
      if (at >= recordEnd || shift > 28) return false;
      byte = bytes[at++]!;
      value |= (byte & 0x7f) << shift;
      shift += 7;
    }
    const keyBytes = (value >>> 1) ^ -(value & 1);
    if (keyBytes > recordEnd - at) return false;
    const keyStart = keyBytes < 0 ? -1 : at;
    const keyEnd = keyBytes < 0 ? -1 : at + keyBytes;
    // Runs of one key are common: a device that sends a burst.
    if (!sameBytes(bytes, keyStart, keyEnd, previousStart, previousEnd)) {
      keyTokens(bytes, keyStart, keyEnd, out);
    }
    previousStart = keyStart;
    previousEnd = keyEnd;
    at = recordEnd;
  }
  return at === end;
}

function sameBytes(bytes: Buffer, start: number, end: number, otherStart: number, otherEnd: number): boolean {
  if (end - start !== otherEnd - otherStart) return false;
  if (start < 0 || otherStart < 0) return start === otherStart;
  for (let i = end - start - 1; i >= 0; i--) {
    if (bytes[start + i] !== bytes[otherStart + i]) return false;
  }
  return true;
}

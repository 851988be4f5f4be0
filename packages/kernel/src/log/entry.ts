import { crc32c, crc32cRange, readInt64, writeInt64 } from '@robustmq/core';
import type { Epoch, Offset, SegmentId, ShardId } from '@robustmq/core';

/**
 * Entry: what an owner appends and a journal stores. A fixed header of 64 bytes, then whole record batches (or, in a
 * control entry, opaque bytes). All integers are big-endian.
 *
 *     0 u32 magic      4 u8 version     5 u8 flags      6 u16 zero      8 u32 shard     12 u32 entry id
 *    16 i64 segment   24 u32 epoch     28 u32 count    32 i64 base offset              40 i64 last committed offset
 *    48 u32 payload   52 u32 crc of the previous entry (0 for the first)               56 u32 zero   60 u32 crc
 *
 * The crc covers bytes 0..59 and, of each batch, bytes 0..20, among which is the batch's own checksum over the rest;
 * of a control entry the whole payload. So every stored byte is under exactly one checksum.
 */
export const entryHeaderBytes = 64;
/** Header and payload of one entry, at most (a frame of the write-ahead log is 2 MiB). */
export const entryBytesMax = 2 * 1024 * 1024 - 8 * 1024;
const magic = 0x524d5145;
const version = 1;
/** Bytes of a batch that its own checksum does not cover. */
export const batchPrefixBytes = 21;
const batchLengthAt = 8;
const crcAt = 60;

/** Bits of an entry's `flags`. */
export const entryFlag = {
  control: 1,
  transactional: 2,
  snapshot: 4,
  brokerEncoded: 8,
  dedupRelease: 16,
} as const;

export interface EntryHeader {
  readonly flags: number;
  readonly shard: ShardId;
  readonly entryId: number;
  readonly segment: SegmentId;
  readonly epoch: Epoch;
  /** Offsets the entry takes; 0 for a control entry. */
  readonly count: number;
  readonly baseOffset: Offset;
  /** Offset up to which (exclusive) the writer knew everything committed. */
  readonly lastCommitted: Offset;
  readonly payloadBytes: number;
  readonly previousCrc: number;
}

/** Encodes the header for `payload` (whole batches, each in one buffer) and returns it; its crc is `entryCrcOf`. */
export function encodeEntryHeader(header: EntryHeader, payload: readonly Buffer[]): Buffer {
  const out = Buffer.allocUnsafe(entryHeaderBytes);
  writeFields(out, header);
  let crc = crc32cRange(out, 0, crcAt);
  for (const part of payload) crc = payloadCrc(part, 0, header.flags, crc);
  out.writeUInt32BE(crc, crcAt);
  return out;
}

/** Writes the header of an entry whose payload is in its place already. */
export function sealEntry(entry: Buffer, header: EntryHeader): void {
  writeFields(entry, header);
  const crc = payloadCrc(entry, entryHeaderBytes, header.flags, crc32cRange(entry, 0, crcAt));
  entry.writeUInt32BE(crc, crcAt);
}

function writeFields(out: Buffer, header: EntryHeader): void {
  out.writeUInt32BE(magic, 0);
  out[4] = version;
  out[5] = header.flags;
  out.writeUInt16BE(0, 6);
  out.writeUInt32BE(header.shard, 8);
  out.writeUInt32BE(header.entryId, 12);
  writeInt64(out, header.segment, 16);
  out.writeUInt32BE(header.epoch, 24);
  out.writeUInt32BE(header.count, 28);
  writeInt64(out, header.baseOffset, 32);
  writeInt64(out, header.lastCommitted, 40);
  out.writeUInt32BE(header.payloadBytes, 48);
  out.writeUInt32BE(header.previousCrc, 52);
  out.writeUInt32BE(0, 56);
}

/** The entry's own checksum, which the next entry of the segment repeats as `previousCrc`. */
export function entryCrcOf(header: Buffer, at = 0): number {
  return header.readUInt32BE(at + crcAt);
}

/** Reads a header without checking the payload; null when the bytes are no header of this version. */
export function decodeEntryHeader(bytes: Buffer, at = 0): EntryHeader | null {
  if (bytes.length - at < entryHeaderBytes) return null;
  if (bytes.readUInt32BE(at) !== magic || bytes[at + 4] !== version) return null;
  return {
    flags: bytes[at + 5]!,
    shard: bytes.readUInt32BE(at + 8) as ShardId,
    entryId: bytes.readUInt32BE(at + 12),
    segment: readInt64(bytes, at + 16) as SegmentId,
    epoch: bytes.readUInt32BE(at + 24) as Epoch,
    count: bytes.readUInt32BE(at + 28),
    baseOffset: readInt64(bytes, at + 32),
    lastCommitted: readInt64(bytes, at + 40),
    payloadBytes: bytes.readUInt32BE(at + 48),
    previousCrc: bytes.readUInt32BE(at + 52),
  };
}

/**
 * Length of the entry at `at` when it lies whole in `bytes` and its checksum holds (the batches' own checksums are
 * checked by `checkEntry`), else -1.
 */
export function entryLengthAt(bytes: Buffer, at: number): number {
  if (bytes.length - at < entryHeaderBytes) return -1;
  if (bytes.readUInt32BE(at) !== magic || bytes[at + 4] !== version) return -1;
  const payloadBytes = bytes.readUInt32BE(at + 48);
  const end = at + entryHeaderBytes + payloadBytes;
  if (payloadBytes > entryBytesMax || end > bytes.length) return -1;
  const payload = bytes.subarray(at + entryHeaderBytes, end);
  const crc = payloadCrc(payload, 0, bytes[at + 5]!, crc32cRange(bytes, at, at + crcAt));
  return crc === entryCrcOf(bytes, at) ? end - at : -1;
}

/** Checks an entry's and all its batches' checksums; returns the entry's crc, null when something is wrong. */
export function checkEntry(entry: Buffer): number | null {
  if (entryLengthAt(entry, 0) !== entry.length) return null;
  if ((entry[5]! & entryFlag.control) === 0) {
    let at = entryHeaderBytes;
    while (at < entry.length) {
      const end = batchEnd(entry, at);
      if (end < 0 || crc32c(entry.subarray(at + batchPrefixBytes, end)) !== entry.readUInt32BE(at + 17))
        return null;
      at = end;
    }
  }
  return entryCrcOf(entry);
}

function batchEnd(bytes: Buffer, at: number): number {
  if (bytes.length - at < batchPrefixBytes) return -1;
  const end = at + batchLengthAt + 4 + bytes.readInt32BE(at + batchLengthAt);
  return end > bytes.length || end < at + batchPrefixBytes ? -1 : end;
}

/** Continues the crc over the payload that lies in `bytes` from `start` on. */
function payloadCrc(bytes: Buffer, start: number, flags: number, seed: number): number {
  if ((flags & entryFlag.control) !== 0) return crc32cRange(bytes, start, bytes.length, seed);
  let crc = seed;
  let at = start;
  while (at < bytes.length) {
    const end = batchEnd(bytes, at);
    if (end < 0) return crc32cRange(bytes, at, bytes.length, crc);
    crc = crc32cRange(bytes, at, at + batchPrefixBytes, crc);
    at = end;
  }
  return crc;
}

import { crc32c, RobustError } from '@robustmq/core';
import type { WalErrorCode } from './wal-error.ts';

/** Frames begin on this boundary, and recovery looks for headers on it. */
export const pageBytes = 4096;
export const frameHeaderBytes = 64;
/** {u32 length, u32 crc} for each item. */
export const tableEntryBytes = 8;
/** A frame with its header, table and padding is never longer. */
export const frameBytesMax = 2 * 1024 * 1024;
/** The longest item that fits into a frame of its own. */
export const itemBytesMax = frameBytesMax - frameHeaderBytes - tableEntryBytes;

const magic = 0x52_57_41_4c;
const version = 1;
const checkpointFlag = 1;
const completeFlag = 2;

/**
 * The frame header, big-endian, 64 bytes:
 *
 * ```
 *  0 u32 magic "RWAL"    4 u8 version   5 u8 kind   6 u8 flags   7 u8 zero
 *  8 journal uuid (16)  24 salt (8)    32 i64 generation
 * 40 u32 sequence in the file          44 u32 body length (table and items, without padding)
 * 48 u32 items          52 u32 CRC of the previous frame's header
 * 56 u32 CRC of the table              60 u32 CRC of bytes 0-59
 * ```
 */
export interface FrameHeader {
  kind: number;
  uuid: Buffer;
  salt: Buffer;
  generation: number;
  sequence: number;
  bodyBytes: number;
  items: number;
  previousCrc: number;
  tableCrc: number;
  /** The frame is part of the checkpoint at the head of its file. */
  checkpoint: boolean;
  /** The last frame of a checkpoint. */
  complete: boolean;
  /** The header's own CRC, by which the next frame names this one. */
  crc: number;
}

/** Writes a header at `at`; returns its CRC. */
export function encodeFrameHeader(into: Buffer, at: number, header: Omit<FrameHeader, 'crc'>): number {
  into.writeUInt32BE(magic, at);
  into[at + 4] = version;
  into[at + 5] = header.kind;
  into[at + 6] = (header.checkpoint ? checkpointFlag : 0) | (header.complete ? completeFlag : 0);
  into[at + 7] = 0;
  into.set(header.uuid, at + 8);
  into.set(header.salt, at + 24);
  into.writeUInt32BE(Math.floor(header.generation / 0x1_0000_0000), at + 32);
  into.writeUInt32BE(header.generation >>> 0, at + 36);
  into.writeUInt32BE(header.sequence, at + 40);
  into.writeUInt32BE(header.bodyBytes, at + 44);
  into.writeUInt32BE(header.items, at + 48);
  into.writeUInt32BE(header.previousCrc, at + 52);
  into.writeUInt32BE(header.tableCrc, at + 56);
  const crc = crc32c(into.subarray(at, at + 60));
  into.writeUInt32BE(crc, at + 60);
  return crc;
}

/**
 * The header at `at`, or null when there is none. Throws `WAL_VERSION` for an intact one of a later version: what
 * cannot be read must not be taken for rot.
 */
export function decodeFrameHeader(from: Buffer, at: number): FrameHeader | null {
  if (at + frameHeaderBytes > from.length || from.readUInt32BE(at) !== magic) return null;
  const crc = from.readUInt32BE(at + 60);
  if (crc32c(from.subarray(at, at + 60)) !== crc) return null;
  if (from[at + 4] !== version) {
    throw new RobustError<WalErrorCode>('WAL_VERSION', 'the log was written by a later version', {
      detail: { version: from[at + 4], supported: version },
    });
  }
  const header: FrameHeader = {
    kind: from[at + 5]!,
    uuid: Buffer.from(from.subarray(at + 8, at + 24)),
    salt: Buffer.from(from.subarray(at + 24, at + 32)),
    generation: from.readUInt32BE(at + 32) * 0x1_0000_0000 + from.readUInt32BE(at + 36),
    sequence: from.readUInt32BE(at + 40),
    bodyBytes: from.readUInt32BE(at + 44),
    items: from.readUInt32BE(at + 48),
    previousCrc: from.readUInt32BE(at + 52),
    tableCrc: from.readUInt32BE(at + 56),
    checkpoint: (from[at + 6]! & checkpointFlag) !== 0,
    complete: (from[at + 6]! & completeFlag) !== 0,
    crc,
  };
  const fits =
    header.bodyBytes <= frameBytesMax - frameHeaderBytes &&
    header.items * tableEntryBytes <= header.bodyBytes &&
    header.generation <= Number.MAX_SAFE_INTEGER;
  return fits ? header : null;
}

/** Bytes that a frame takes in its file. */
export function frameBytes(bodyBytes: number): number {
  return Math.ceil((frameHeaderBytes + bodyBytes) / pageBytes) * pageBytes;
}

/** Where the first of so many items begins in its frame. */
export function itemsAt(items: number): number {
  return frameHeaderBytes + items * tableEntryBytes;
}

/** Where the items of a frame are, by its table; null when the table is not what was written. */
export function decodeTable(frame: Buffer, header: FrameHeader): FrameItem[] | null {
  const tableEnd = itemsAt(header.items);
  if (frame.length < frameHeaderBytes + header.bodyBytes) return null;
  if (crc32c(frame.subarray(frameHeaderBytes, tableEnd)) !== header.tableCrc) return null;
  const items: FrameItem[] = [];
  let start = tableEnd;
  for (let at = frameHeaderBytes; at < tableEnd; at += tableEntryBytes) {
    const end = start + frame.readUInt32BE(at);
    if (end > frameHeaderBytes + header.bodyBytes) return null;
    items.push({ bytes: frame.subarray(start, end), crc: frame.readUInt32BE(at + 4) });
    start = end;
  }
  return items;
}

/** An item as the table describes it; whether its bytes match `crc` is not checked yet. */
export interface FrameItem {
  bytes: Buffer;
  crc: number;
}

import type { DiskFile, IoClass } from '@robustmq/core';
import type { EntryHeader } from '@robustmq/kernel';
import { checkEntry, decodeEntryHeader, entryBytesMax, entryHeaderBytes } from '@robustmq/kernel';
import type { Segment } from './segment.ts';

const chunkBytes = 256 * 1024;

export interface ScanRange {
  readonly io: IoClass;
  /** Byte position of the first entry, its id, and the checksum of the entry before it. */
  readonly position: number;
  readonly entryId: number;
  readonly previousCrc: number;
  /** No entry ends behind this position. */
  readonly end: number;
}

/**
 * Visits the segment's entries in order, each checked whole and chained to the one before. Stops at the first that is
 * not the next entry of this segment: what a recycled file still holds of another never passes. Resolves to the
 * position where it stopped.
 */
export async function scanSegment(
  file: DiskFile,
  segment: Segment,
  range: ScanRange,
  visit: (header: EntryHeader, entry: Buffer, position: number) => void,
): Promise<number> {
  let window = Buffer.alloc(0);
  let position = range.position;
  let entryId = range.entryId;
  let previousCrc = range.previousCrc;
  const fill = async (bytes: number): Promise<boolean> => {
    while (window.length < bytes) {
      const at = position + window.length;
      const chunk = Buffer.allocUnsafe(Math.max(0, Math.min(chunkBytes, range.end - at)));
      const got = chunk.length === 0 ? 0 : await file.pread(range.io, chunk, at);
      if (got === 0) return false;
      window = Buffer.concat([window, chunk.subarray(0, got)]);
    }
    return true;
  };
  while (await fill(entryHeaderBytes)) {
    const bytes = entryHeaderBytes + window.readUInt32BE(48);
    if (bytes > entryBytesMax || !(await fill(bytes))) break;
    const entry = window.subarray(0, bytes);
    const crc = checkEntry(entry);
    const header = crc === null ? null : decodeEntryHeader(entry);
    if (crc === null || header === null) break;
    if (header.shard !== segment.shard || header.segment !== segment.id) break;
    if (header.entryId !== entryId || header.previousCrc !== previousCrc) break;
    visit(header, entry, position);
    previousCrc = crc;
    entryId++;
    position += bytes;
    window = window.subarray(bytes);
  }
  return position;
}

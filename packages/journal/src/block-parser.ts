import type { Offset, SegmentId, ShardId } from '@robustmq/core';
import type { StoredEntry } from '@robustmq/kernel';
import { checkEntry, decodeEntryHeader, entryHeaderBytes, entryLengthAt } from '@robustmq/kernel';
import type { LostRange } from './block-cache.ts';

export interface BlockExtent {
  readonly shard: ShardId;
  readonly segment: SegmentId;
  readonly firstOffset: Offset;
  /** First offset behind the block. */
  readonly endOffset: Offset;
  /** Check the batches' own checksums too: at the first touch. */
  readonly verify: boolean;
}

export interface ParsedBlock {
  readonly entries: StoredEntry[];
  readonly lost: LostRange[];
}

const magicBytes = Buffer.from('RMQE');

/**
 * Cuts a block into its entries; payloads are views. Damage costs the entries it hit: the scan goes on at the next
 * entry that checks, and the offsets between are reported.
 */
export function parseBlock(bytes: Buffer, extent: BlockExtent): ParsedBlock {
  const entries: StoredEntry[] = [];
  const lost: LostRange[] = [];
  let next = extent.firstOffset;
  let damaged = false;
  let at = 0;
  while (at < bytes.length) {
    const length = soundEntryAt(bytes, at, extent);
    if (length < 0) {
      damaged = true;
      at = nextEntry(bytes, at + 1, extent);
      continue;
    }
    const header = decodeEntryHeader(bytes, at)!;
    // A control entry takes no offset; that one is gone must show all the same.
    if (damaged) lost.push({ from: next, to: Math.max(header.baseOffset, next + 1) });
    damaged = false;
    entries.push({
      baseOffset: header.baseOffset,
      count: header.count,
      flags: header.flags,
      payload: bytes.subarray(at + entryHeaderBytes, at + length),
    });
    next = header.baseOffset + header.count;
    at += length;
  }
  if (damaged) lost.push({ from: next, to: Math.max(extent.endOffset, next + 1) });
  return { entries, lost };
}

function soundEntryAt(bytes: Buffer, at: number, extent: BlockExtent): number {
  const length = entryLengthAt(bytes, at);
  if (length < 0) return -1;
  const header = decodeEntryHeader(bytes, at);
  if (header === null || header.shard !== extent.shard || header.segment !== extent.segment) return -1;
  if (header.baseOffset < extent.firstOffset || header.baseOffset + header.count > extent.endOffset)
    return -1;
  return extent.verify && checkEntry(bytes.subarray(at, at + length)) === null ? -1 : length;
}

function nextEntry(bytes: Buffer, from: number, extent: BlockExtent): number {
  for (let at = bytes.indexOf(magicBytes, from); at >= 0; at = bytes.indexOf(magicBytes, at + 1)) {
    if (soundEntryAt(bytes, at, extent) > 0) return at;
  }
  return bytes.length;
}

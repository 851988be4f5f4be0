import { assert } from '@robustmq/core';
import { entryBytesMax, entryFlag, entryHeaderBytes } from './entry.ts';
import type { LogBatch } from './log-batch.ts';

/** Offsets of one entry, at most: as many as one batch can have. */
const entryCountMax = 2 ** 31 - 1;

/** Batches `[start, end)` of those staged, with their offsets and bytes. */
export interface EntryRun {
  readonly end: number;
  readonly count: number;
  readonly bytes: number;
}

/** The longest run of staged batches that can share an entry: one kind of encoder, no control, within the bound. */
export function entryRun(staged: readonly LogBatch[], start: number): EntryRun {
  const first = staged[start]!;
  let end = start + 1;
  let { count, bytes } = first;
  assert(bytes <= entryBytesMax - entryHeaderBytes, 'a batch fits an entry');
  if ((first.flags & entryFlag.control) !== 0) return { end, count, bytes };
  while (end < staged.length) {
    const next = staged[end]!;
    if (next.brokerEncoded !== first.brokerEncoded || next.flags !== first.flags) break;
    if (bytes + next.bytes > entryBytesMax - entryHeaderBytes) break;
    // Compressed batches may say that they hold two thousand million records each.
    if (count + next.count > entryCountMax) break;
    bytes += next.bytes;
    count += next.count;
    end++;
  }
  return { end, count, bytes };
}

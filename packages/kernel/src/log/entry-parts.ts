import { encodeEntryHeader, entryHeaderBytes, sealEntry } from './entry.ts';
import type { EntryHeader } from './entry.ts';
import type { EntrySlab } from './entry-slab.ts';
import { slabEntryBytesMax } from './entry-slab.ts';
import type { LogBatch } from './log-batch.ts';

/**
 * The bytes of an entry, as `AppendEntry` has them. Batches that lie together behind room for the header are an entry
 * already. Else a small entry is in one piece, to which its batches move: the copy costs less than views of the parts.
 * Batches of others stay where they are.
 */
export function entryParts(header: EntryHeader, batches: readonly LogBatch[], slab: EntrySlab): Buffer[] {
  const first = batches[0]!;
  if (first.hasHeadroom && endOfRun(batches, 0) === batches.length) {
    const entry = first.buffer.subarray(first.start - entryHeaderBytes, batches.at(-1)!.end);
    sealEntry(entry, header);
    return [entry];
  }
  const bytes = entryHeaderBytes + header.payloadBytes;
  return bytes <= slabEntryBytesMax
    ? [inOnePiece(header, batches, slab.take(bytes))]
    : inPlace(header, batches);
}

function inOnePiece(header: EntryHeader, batches: readonly LogBatch[], entry: Buffer): Buffer {
  let at = entryHeaderBytes;
  for (const batch of batches) {
    batch.moveTo(entry, at);
    at = batch.end;
  }
  sealEntry(entry, header);
  return entry;
}

function inPlace(header: EntryHeader, batches: readonly LogBatch[]): Buffer[] {
  const payload: Buffer[] = [];
  for (let at = 0, next = 0; at < batches.length; at = next) {
    next = endOfRun(batches, at);
    const { buffer, start } = batches[at]!;
    const { end } = batches[next - 1]!;
    payload.push(start === 0 && end === buffer.length ? buffer : buffer.subarray(start, end));
  }
  return [encodeEntryHeader(header, payload), ...payload];
}

/** Behind the batches that lie one behind the other, from the one at `from` on. */
function endOfRun(batches: readonly LogBatch[], from: number): number {
  let at = from + 1;
  for (let last = batches[from]!; at < batches.length; at++) {
    const batch = batches[at]!;
    if (batch.buffer !== last.buffer || batch.start !== last.end) return at;
    last = batch;
  }
  return at;
}

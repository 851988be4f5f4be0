import { encodeEntryHeader, entryHeaderBytes, sealEntry } from './entry.ts';
import type { EntryHeader } from './entry.ts';
import type { EntrySlab } from './entry-slab.ts';
import { slabEntryBytesMax } from './entry-slab.ts';
import type { LogBatch } from './log-batch.ts';

/**
 * The bytes of an entry, as `AppendEntry` has them. A small one is in one piece, to which its batches move: the copy
 * costs less than views of the parts. So is one with a batch that has to leave the memory it came in. Batches of
 * others stay where they are.
 */
export function entryParts(header: EntryHeader, batches: readonly LogBatch[], slab: EntrySlab): Buffer[] {
  const bytes = entryHeaderBytes + header.payloadBytes;
  let whole = bytes <= slabEntryBytesMax;
  for (let at = 0; at < batches.length && !whole; at++) whole = batches[at]!.borrowed;
  return whole ? [inOnePiece(header, batches, slab.take(bytes))] : inPlace(header, batches);
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
  const payload = batches.map(({ buffer, start, end }) =>
    start === 0 && end === buffer.length ? buffer : buffer.subarray(start, end),
  );
  return [encodeEntryHeader(header, payload), ...payload];
}

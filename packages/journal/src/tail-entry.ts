import type { Offset } from '@robustmq/core';
import type { AppendEntry, EntryHeader, StoredEntry } from '@robustmq/kernel';
import { decodeEntryHeader, entryCrcOf, entryFlag, entryHeaderBytes } from '@robustmq/kernel';
import { batchMaxTimestamp, nextBatch } from '@robustmq/record';
import type { TailSlab } from './tail-memory.ts';

/** Where an entry lies in its segment's file. */
export interface EntryPlace {
  readonly position: number;
  /** The oldest generation of the write-ahead log that can hold it. */
  readonly generation: number;
}

/** The numbers of an entry, which the memory tail keeps beside its bytes. */
export class EntryNumbers {
  readonly entryId: number;
  readonly baseOffset: Offset;
  readonly count: number;
  readonly flags: number;
  readonly crc: number;
  readonly position: number;
  /** With the header. */
  readonly bytes: number;
  readonly maxTimestamp: number;
  readonly generation: number;

  constructor(numbers: NumbersOf<EntryNumbers>) {
    this.entryId = numbers.entryId;
    this.baseOffset = numbers.baseOffset;
    this.count = numbers.count;
    this.flags = numbers.flags;
    this.crc = numbers.crc;
    this.position = numbers.position;
    this.bytes = numbers.bytes;
    this.maxTimestamp = numbers.maxTimestamp;
    this.generation = numbers.generation;
  }

  get isControl(): boolean {
    return (this.flags & entryFlag.control) !== 0;
  }

  get endOffset(): Offset {
    return this.baseOffset + this.count;
  }
}

type NumbersOf<Numbers> = Omit<Numbers, 'isControl' | 'endOffset'>;

/** An entry in the journal's memory. Its bytes are there until it leaves the tail, or for good once they are given. */
export class TailEntry extends EntryNumbers implements StoredEntry {
  readonly #slab: TailSlab;
  readonly #start: number;
  #payload: Buffer | null = null;

  constructor(numbers: NumbersOf<EntryNumbers>, slab: TailSlab, start: number) {
    super(numbers);
    this.#slab = slab;
    this.#start = start;
  }

  get payload(): Buffer {
    const start = this.#start + entryHeaderBytes;
    this.#payload ??= this.#slab.bytes.subarray(start, this.#start + this.bytes);
    return this.#payload;
  }

  /** Readers may look at the bytes for as long as they like. */
  give(): void {
    this.#slab.isGiven = true;
  }
}

/** The numbers of the entry with this header; `parts` as an `AppendEntry` has them. */
export function entryNumbersOf(
  header: EntryHeader,
  parts: readonly Buffer[],
  place: EntryPlace,
): EntryNumbers {
  return new EntryNumbers({
    entryId: header.entryId,
    baseOffset: header.baseOffset,
    count: header.count,
    flags: header.flags,
    crc: entryCrcOf(parts[0]!),
    position: place.position,
    bytes: entryHeaderBytes + header.payloadBytes,
    maxTimestamp: maxTimestampOf(parts, header.flags, entryHeaderBytes),
    generation: place.generation,
  });
}

/** The entry an owner sends, checked against its own header; null when they contradict each other. */
export function headerOf(entry: AppendEntry): EntryHeader | null {
  const header = decodeEntryHeader(entry.parts[0]!);
  const sound =
    header !== null &&
    header.shard === entry.shard &&
    header.segment === entry.segment &&
    header.entryId === entry.entryId &&
    header.epoch === entry.epoch &&
    header.payloadBytes === entry.bytes - entryHeaderBytes;
  return sound ? header : null;
}

/** The highest timestamp in an entry's batches, which begin at `start` of the first part; -1 for a control entry. */
export function maxTimestampOf(parts: readonly Buffer[], flags: number, start = 0): number {
  if ((flags & entryFlag.control) !== 0) return -1;
  let max = -1;
  let at = start;
  for (const part of parts) {
    for (let next = nextBatch(part, at); next !== -1; at = next, next = nextBatch(part, at)) {
      const timestamp = batchMaxTimestamp(part, at);
      if (timestamp > max) max = timestamp;
    }
    at = 0;
  }
  return max;
}

/**
 * Whether a read at `offset` starts at or before this entry: the one that holds the offset, the next one behind it,
 * or a control entry that stands before it. False for a prefix of a segment and true for the rest.
 */
export function reaches(baseOffset: Offset, count: number, offset: Offset): boolean {
  return count > 0 ? baseOffset + count > offset : baseOffset >= offset;
}

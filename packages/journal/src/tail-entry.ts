import type { Offset } from '@robustmq/core';
import type { AppendEntry, EntryHeader, StoredEntry } from '@robustmq/kernel';
import { decodeEntryHeader, entryCrcOf, entryFlag, entryHeaderBytes } from '@robustmq/kernel';
import { batchMaxTimestamp, nextBatch } from '@robustmq/record';

/** Where an entry lies in its segment's file. */
export interface EntryPlace {
  readonly position: number;
  /** The oldest generation of the write-ahead log that can hold it. */
  readonly generation: number;
}

/** An entry in the journal's memory; what readers of the tail are given. */
export class TailEntry implements StoredEntry {
  readonly entryId: number;
  readonly baseOffset: Offset;
  readonly count: number;
  readonly flags: number;
  readonly crc: number;
  readonly position: number;
  readonly bytes: number;
  readonly maxTimestamp: number;
  readonly generation: number;
  #parts: readonly Buffer[];
  #payload: Buffer | null = null;

  /** `parts` as an `AppendEntry` has them. */
  constructor(fields: EntryHeader, parts: readonly Buffer[], place: EntryPlace) {
    this.entryId = fields.entryId;
    this.baseOffset = fields.baseOffset;
    this.count = fields.count;
    this.flags = fields.flags;
    this.crc = entryCrcOf(parts[0]!);
    this.position = place.position;
    this.bytes = entryHeaderBytes + fields.payloadBytes;
    this.maxTimestamp = maxTimestampOf(parts, fields.flags, entryHeaderBytes);
    this.generation = place.generation;
    this.#parts = parts;
  }

  /** Header and payload as they were appended. */
  get parts(): readonly Buffer[] {
    return this.#parts;
  }

  /** The payload in one piece; put together at the first read. */
  get payload(): Buffer {
    return (this.#payload ??= this.#join());
  }

  #join(): Buffer {
    const [head, only] = this.#parts;
    if (this.#parts.length === 1) return head!.subarray(entryHeaderBytes);
    if (this.#parts.length === 2 && head!.length === entryHeaderBytes) return only!;
    const whole = Buffer.concat(this.#parts);
    this.#parts = [whole];
    return whole.subarray(entryHeaderBytes);
  }

  get isControl(): boolean {
    return (this.flags & entryFlag.control) !== 0;
  }

  get endOffset(): Offset {
    return this.baseOffset + this.count;
  }
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
export function reaches(entry: StoredEntry, offset: Offset): boolean {
  return entry.count > 0 ? entry.baseOffset + entry.count > offset : entry.baseOffset >= offset;
}

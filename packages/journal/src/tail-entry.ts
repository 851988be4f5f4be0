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
  readonly header: Buffer;
  #parts: readonly Buffer[];

  constructor(header: Buffer, fields: EntryHeader, parts: readonly Buffer[], place: EntryPlace) {
    this.entryId = fields.entryId;
    this.baseOffset = fields.baseOffset;
    this.count = fields.count;
    this.flags = fields.flags;
    this.crc = entryCrcOf(header);
    this.position = place.position;
    this.bytes = entryHeaderBytes + fields.payloadBytes;
    this.maxTimestamp = maxTimestampOf(parts, fields.flags);
    this.generation = place.generation;
    this.header = header;
    this.#parts = parts;
  }

  /** Header and payload as they were appended. */
  get parts(): readonly Buffer[] {
    return this.#parts;
  }

  /** The payload in one piece; put together at the first read. */
  get payload(): Buffer {
    if (this.#parts.length !== 1) this.#parts = [Buffer.concat(this.#parts)];
    return this.#parts[0]!;
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
  const header = decodeEntryHeader(entry.header);
  const sound =
    header !== null &&
    header.shard === entry.shard &&
    header.segment === entry.segment &&
    header.entryId === entry.entryId &&
    header.epoch === entry.epoch &&
    header.payloadBytes === entry.payloadBytes;
  return sound ? header : null;
}

/** The highest timestamp in an entry's batches; -1 for a control entry. */
export function maxTimestampOf(parts: readonly Buffer[], flags: number): number {
  if ((flags & entryFlag.control) !== 0) return -1;
  let max = -1;
  for (const part of parts) {
    for (let at = 0, next = nextBatch(part, 0); next !== -1; at = next, next = nextBatch(part, at)) {
      const timestamp = batchMaxTimestamp(part, at);
      if (timestamp > max) max = timestamp;
    }
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

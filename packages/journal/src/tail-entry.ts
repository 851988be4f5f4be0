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

/** The numbers of an entry. */
export type TailFields = Pick<
  TailEntry,
  'entryId' | 'baseOffset' | 'count' | 'flags' | 'crc' | 'position' | 'bytes' | 'maxTimestamp' | 'generation'
>;

/** Where the bytes of an entry are: in one piece of this memory, or in parts. */
export type EntryMemory = ArrayBufferLike | EntryParts;

/** An entry of several parts, which are put together at the first read. */
export class EntryParts {
  #parts: readonly Buffer[];

  /** As an `AppendEntry` has them. */
  constructor(parts: readonly Buffer[]) {
    this.#parts = parts;
  }

  /** Header and payload, as they were appended until somebody reads the payload of several parts. */
  get parts(): readonly Buffer[] {
    return this.#parts;
  }

  /** The payload in one piece. */
  get payload(): Buffer {
    const [head, only] = this.#parts;
    if (this.#parts.length === 2 && head!.length === entryHeaderBytes) return only!;
    if (this.#parts.length > 1) this.#parts = [Buffer.concat(this.#parts)];
    return this.#parts[0]!.subarray(entryHeaderBytes);
  }
}

/** An entry in the journal's memory; what readers of the tail are given. */
export class TailEntry implements StoredEntry {
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
  readonly memory: EntryMemory;
  /** Where it begins in its memory, if that is one piece. */
  readonly start: number;
  #payload: Buffer | null = null;

  constructor(fields: TailFields, memory: EntryMemory, start: number) {
    this.entryId = fields.entryId;
    this.baseOffset = fields.baseOffset;
    this.count = fields.count;
    this.flags = fields.flags;
    this.crc = fields.crc;
    this.position = fields.position;
    this.bytes = fields.bytes;
    this.maxTimestamp = fields.maxTimestamp;
    this.generation = fields.generation;
    this.memory = memory;
    this.start = start;
  }

  /** Header and payload. */
  get parts(): readonly Buffer[] {
    const { memory } = this;
    return memory instanceof EntryParts ? memory.parts : [Buffer.from(memory, this.start, this.bytes)];
  }

  get payload(): Buffer {
    return (this.#payload ??= this.#payloadOf(this.memory));
  }

  #payloadOf(memory: EntryMemory): Buffer {
    if (memory instanceof EntryParts) return memory.payload;
    return Buffer.from(memory, this.start + entryHeaderBytes, this.bytes - entryHeaderBytes);
  }

  get isControl(): boolean {
    return (this.flags & entryFlag.control) !== 0;
  }

  get endOffset(): Offset {
    return this.baseOffset + this.count;
  }
}

/** The entry with this header; `parts` as an `AppendEntry` has them. */
export function tailEntryOf(header: EntryHeader, parts: readonly Buffer[], place: EntryPlace): TailEntry {
  const first = parts[0]!;
  const fields = {
    entryId: header.entryId,
    baseOffset: header.baseOffset,
    count: header.count,
    flags: header.flags,
    crc: entryCrcOf(first),
    position: place.position,
    bytes: entryHeaderBytes + header.payloadBytes,
    maxTimestamp: maxTimestampOf(parts, header.flags, entryHeaderBytes),
    generation: place.generation,
  };
  if (parts.length === 1) return new TailEntry(fields, first.buffer, first.byteOffset);
  return new TailEntry(fields, new EntryParts(parts), 0);
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

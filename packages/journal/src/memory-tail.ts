import type { Offset } from '@robustmq/core';
import { assert } from '@robustmq/core';
import { reaches, TailEntry } from './tail-entry.ts';
import type { EntryNumbers } from './tail-entry.ts';
import { TailMemory } from './tail-memory.ts';
import type { TailSlab } from './tail-memory.ts';

/** Rows of a chunk; a power of two. 10,000 shards with an entry each have a chunk each, of 1.6 KB. */
const chunkRows = 16;
const chunkShift = 4;
const rowMask = chunkRows - 1;
/** Chunks that are kept for the next tail of this process that grows, at most: 6 MB. */
const spareMax = 4096;
/** Bytes that entries of all tails leave and that are kept for others. */
const spareBytesMax = 16 * 1024 * 1024;
/** Chunks that left a tail are cut off its list when they are this many, and half of it. */
const cutMin = 64;

/** What a row has, as numbers that a double holds exactly. */
const column = {
  baseOffset: 0,
  count: 1,
  flags: 2,
  crc: 3,
  position: 4,
  bytes: 5,
  maxTimestamp: 6,
  generation: 7,
  /** Where the entry begins in its slab. */
  start: 8,
} as const;
const columns = 9;

interface Chunk {
  readonly numbers: Float64Array;
  readonly slabs: (TailSlab | null)[];
}

const spare: Chunk[] = [];
/** Entries that are in no file stay long: they must not keep slabs that others have left. */
const memories = { written: new TailMemory(spareBytesMax), unwritten: new TailMemory(0) } as const;

/**
 * The newest entries of one segment, without a gap; the oldest leave first. A row of numbers for each, and no object:
 * a second of small entries would be 100,000 of them, which the collector of garbage copies twice and then marks;
 * `bench` watches what an entry costs.
 */
export class MemoryTail {
  /** A read at or above this offset finds everything here. */
  coversFrom: Offset;
  #chunks: (Chunk | undefined)[] = [];
  /** Row of the first entry, counted from the first chunk of the list. */
  #head = 0;
  #length = 0;
  #firstId = 0;
  readonly #memory: TailMemory;

  /** `kind`: whether its entries leave when they are written, or are never. */
  constructor(coversFrom: Offset, kind: 'written' | 'unwritten') {
    this.coversFrom = coversFrom;
    this.#memory = memories[kind];
  }

  get length(): number {
    return this.#length;
  }

  /** The entry, made anew by each call. */
  at(index: number): TailEntry {
    assert(index >= 0 && index < this.#length, 'an entry of this tail');
    const row = this.#head + index;
    const { numbers, slabs } = this.#chunks[row >>> chunkShift]!;
    const inChunk = row & rowMask;
    const from = inChunk * columns;
    return new TailEntry(
      {
        entryId: this.#firstId + index,
        baseOffset: numbers[from + column.baseOffset]!,
        count: numbers[from + column.count]!,
        flags: numbers[from + column.flags]!,
        crc: numbers[from + column.crc]!,
        position: numbers[from + column.position]!,
        bytes: numbers[from + column.bytes]!,
        maxTimestamp: numbers[from + column.maxTimestamp]!,
        generation: numbers[from + column.generation]!,
      },
      slabs[inChunk]!,
      numbers[from + column.start]!,
    );
  }

  /** Copies an entry in; `parts` as an `AppendEntry` has them. */
  push(entry: EntryNumbers, parts: readonly Buffer[]): void {
    if (this.#length === 0) this.#firstId = entry.entryId;
    assert(entry.entryId === this.#firstId + this.#length, 'entries come without a gap');
    const row = this.#head + this.#length;
    if (row >>> chunkShift === this.#chunks.length) this.#chunks.push(spare.pop() ?? newChunk());
    const { numbers, slabs } = this.#chunks[row >>> chunkShift]!;
    const inChunk = row & rowMask;
    const from = inChunk * columns;
    const slab = this.#memory.add(parts, entry.bytes);
    numbers[from + column.baseOffset] = entry.baseOffset;
    numbers[from + column.count] = entry.count;
    numbers[from + column.flags] = entry.flags;
    numbers[from + column.crc] = entry.crc;
    numbers[from + column.position] = entry.position;
    numbers[from + column.bytes] = entry.bytes;
    numbers[from + column.maxTimestamp] = entry.maxTimestamp;
    numbers[from + column.generation] = entry.generation;
    numbers[from + column.start] = slab.used - entry.bytes;
    slabs[inChunk] = slab;
    this.#length++;
  }

  /** Copies an entry from its byte `from` on to `target`, as much as fits; returns how much. */
  copy(index: number, from: number, target: Buffer, at: number): number {
    const row = this.#head + index;
    const { numbers, slabs } = this.#chunks[row >>> chunkShift]!;
    const inChunk = row & rowMask;
    const start = numbers[inChunk * columns + column.start]!;
    const end = start + numbers[inChunk * columns + column.bytes]!;
    return slabs[inChunk]!.bytes.copy(target, at, start + from, end);
  }

  /** Drops the first entry; returns its bytes, 0 when there is none. */
  shift(): number {
    if (this.#length === 0) return 0;
    const at = this.#head >>> chunkShift;
    const { numbers, slabs } = this.#chunks[at]!;
    const inChunk = this.#head & rowMask;
    const from = inChunk * columns;
    this.#memory.release(slabs[inChunk]!);
    // What left must not stay in memory until its chunk is free: entries are up to 2 MiB each.
    slabs[inChunk] = null;
    const baseOffset = numbers[from + column.baseOffset]!;
    const count = numbers[from + column.count]!;
    const bytes = numbers[from + column.bytes]!;
    // A control entry takes no offset: one that left is missed by a read at its own offset.
    this.coversFrom = Math.max(this.coversFrom, count > 0 ? baseOffset + count : baseOffset + 1);
    this.#head++;
    this.#length--;
    this.#firstId++;
    if (inChunk === rowMask || this.#length === 0) this.#free(at);
    return bytes;
  }

  /** The chunk at `at` holds nothing any more, and those before it do not. */
  #free(at: number): void {
    const chunk = this.#chunks[at]!;
    if (spare.length < spareMax) spare.push(chunk);
    this.#chunks[at] = undefined;
    if (this.#length === 0) {
      this.#chunks = [];
      this.#head = 0;
    } else if (at + 1 >= cutMin && (at + 1) * 2 >= this.#chunks.length) {
      this.#chunks = this.#chunks.slice(at + 1);
      this.#head = 0;
    }
  }

  /** Index of the first entry that a read at `offset` returns; `length` when all are below it. */
  find(offset: Offset): number {
    let low = 0;
    let high = this.#length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const baseOffset = this.#number(middle, column.baseOffset);
      if (reaches(baseOffset, this.#number(middle, column.count), offset)) high = middle;
      else low = middle + 1;
    }
    return low;
  }

  /** Index of an entry id, -1 when it is not here. */
  indexOf(entryId: number): number {
    const index = entryId - this.#firstId;
    return index >= 0 && index < this.#length ? index : -1;
  }

  /** Index of the first entry with a record as young as `timestamp`, -1 when there is none. */
  findTimestamp(timestamp: number): number {
    for (let index = 0; index < this.#length; index++) {
      if (this.#number(index, column.maxTimestamp) >= timestamp) return index;
    }
    return -1;
  }

  baseOffsetAt(index: number): Offset {
    return this.#number(index, column.baseOffset);
  }

  countAt(index: number): number {
    return this.#number(index, column.count);
  }

  bytesAt(index: number): number {
    return this.#number(index, column.bytes);
  }

  flagsAt(index: number): number {
    return this.#number(index, column.flags);
  }

  maxTimestampAt(index: number): number {
    return this.#number(index, column.maxTimestamp);
  }

  positionAt(index: number): number {
    return this.#number(index, column.position);
  }

  crcAt(index: number): number {
    return this.#number(index, column.crc);
  }

  /** The oldest generation of the write-ahead log that can hold the entry. */
  generationAt(index: number): number {
    return this.#number(index, column.generation);
  }

  #number(index: number, at: number): number {
    const row = this.#head + index;
    return this.#chunks[row >>> chunkShift]!.numbers[(row & rowMask) * columns + at]!;
  }
}

function newChunk(): Chunk {
  return {
    numbers: new Float64Array(chunkRows * columns),
    slabs: Array.from({ length: chunkRows }, () => null),
  };
}

import type { Offset } from '@robustmq/core';
import type { TailEntry } from './tail-entry.ts';
import { reaches } from './tail-entry.ts';

/** The newest entries of one segment, without a gap; the oldest leave first. */
export class MemoryTail {
  #entries: (TailEntry | undefined)[] = [];
  #head = 0;
  /** A read at or above this offset finds everything here. */
  coversFrom: Offset;

  constructor(coversFrom: Offset) {
    this.coversFrom = coversFrom;
  }

  get length(): number {
    return this.#entries.length - this.#head;
  }

  at(index: number): TailEntry {
    return this.#entries[this.#head + index]!;
  }

  push(entry: TailEntry): void {
    this.#entries.push(entry);
  }

  shift(): TailEntry | undefined {
    const entry = this.#entries[this.#head];
    if (entry === undefined) return undefined;
    // What left must not stay in memory until the array is cut: entries are up to 2 MiB each.
    this.#entries[this.#head] = undefined;
    this.#head++;
    // A control entry takes no offset: one that left is missed by a read at its own offset.
    this.coversFrom = Math.max(this.coversFrom, entry.count > 0 ? entry.endOffset : entry.baseOffset + 1);
    if (
      this.#head === this.#entries.length ||
      (this.#head >= 1024 && this.#head * 2 >= this.#entries.length)
    ) {
      this.#entries = this.#entries.slice(this.#head);
      this.#head = 0;
    }
    return entry;
  }

  /** Index of the first entry that a read at `offset` returns; `length` when all are below it. */
  find(offset: Offset): number {
    let low = 0;
    let high = this.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (reaches(this.at(middle), offset)) high = middle;
      else low = middle + 1;
    }
    return low;
  }

  /** Index of an entry id, -1 when it is not here. */
  indexOf(entryId: number): number {
    if (this.length === 0) return -1;
    const index = entryId - this.at(0).entryId;
    return index >= 0 && index < this.length ? index : -1;
  }
}

import { assert } from '@robustmq/core';
import { entryHeaderBytes } from './entry.ts';
import type { LogBatch } from './log-batch.ts';

const slabBytes = 64 * 1024;
/** A larger entry has memory of its own: what is left of a slab when it does not fit would be wasted. */
export const slabEntryBytesMax = 4 * 1024;

/**
 * Memory for entries, which holds nothing else. What was cut from the pool of `Buffer`, or from what a socket was read
 * into, stays in memory for as long as an entry waits for the log, together with all that was cut beside it: a queue that
 * counts 200 bytes would hold 64 KiB.
 */
export class EntrySlab {
  #slab = Buffer.alloc(0);
  #used = 0;

  take(bytes: number): Buffer {
    if (bytes > slabEntryBytesMax) return Buffer.allocUnsafeSlow(bytes);
    this.#reserve(bytes);
    const from = this.#used;
    this.#used += bytes;
    return this.#slab.subarray(from, this.#used);
  }

  /**
   * Moves a batch here: right behind `last` while that is what was cut last, else behind room for the header of an
   * entry. So what one client sends at once is an entry when its turn ends, without another copy.
   */
  adopt(batch: LogBatch, last: LogBatch | undefined): void {
    const { bytes } = batch;
    assert(bytes + entryHeaderBytes <= slabBytes, 'a borrowed batch fits a slab');
    const isLast = last !== undefined && last.buffer === this.#slab && last.end === this.#used;
    const follows = isLast && this.#used + bytes <= slabBytes;
    if (!follows) {
      this.#reserve(entryHeaderBytes + bytes);
      this.#used += entryHeaderBytes;
    }
    batch.moveTo(this.#slab, this.#used);
    batch.hasHeadroom = !follows;
    this.#used = batch.end;
  }

  #reserve(bytes: number): void {
    if (this.#used + bytes <= this.#slab.length) return;
    this.#slab = Buffer.allocUnsafeSlow(slabBytes);
    this.#used = 0;
  }
}

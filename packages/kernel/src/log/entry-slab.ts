import { assert } from '@robustmq/core';
import { entryHeaderBytes } from './entry.ts';
import type { LogBatch } from './log-batch.ts';

const slabBytes = 64 * 1024;
/** A larger entry that is taken has memory of its own: what is left of a slab when it does not fit would be wasted. */
export const slabEntryBytesMax = 4 * 1024;

/**
 * Memory for entries, which holds nothing else: they come and go together, as the log takes them in order. What is cut from
 * the pool of `Buffer` lies beside what lives for other reasons, and a queue that counts 200 bytes would hold 8 KiB for it.
 * One entry that waits for long, while the others leave, holds a slab.
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
   * Moves a batch here: right behind `last`, the one before it in its log, while that is what was cut last; else behind
   * room for the header of an entry. So what one client sends at once is an entry when its turn ends, without another
   * copy.
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

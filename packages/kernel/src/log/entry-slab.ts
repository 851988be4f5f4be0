const slabBytes = 16 * 1024;
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
    if (this.#used + bytes > this.#slab.length) {
      this.#slab = Buffer.allocUnsafeSlow(slabBytes);
      this.#used = 0;
    }
    const from = this.#used;
    this.#used += bytes;
    return this.#slab.subarray(from, this.#used);
  }
}

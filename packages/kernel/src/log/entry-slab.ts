/** Larger parts have memory of their own already: the pool of `Buffer` serves none of 4 KiB and more. */
const smallBytesMax = 4 * 1024;
const slabBytes = 16 * 1024;

/**
 * Memory for small entries, which holds nothing else. What was cut from the pool of `Buffer` stays in memory for as long
 * as an entry does, together with all that was cut beside it: a journal that counts 200 bytes would hold 8 KiB.
 */
export class EntrySlab {
  #slab = Buffer.alloc(0);
  #used = 0;

  /** The entry with its bytes moved here, its payload in one piece; as it is where that would not save anything. */
  own(header: Buffer, payload: readonly Buffer[], payloadBytes: number): [Buffer, readonly Buffer[]] {
    const bytes = header.length + payloadBytes;
    if (bytes > smallBytesMax) return [header, payload];
    if (this.#used + bytes > this.#slab.length) {
      this.#slab = Buffer.allocUnsafeSlow(slabBytes);
      this.#used = 0;
    }
    const slab = this.#slab;
    const from = this.#used;
    const payloadAt = from + header.length;
    slab.set(header, from);
    let at = payloadAt;
    for (const part of payload) {
      slab.set(part, at);
      at += part.length;
    }
    this.#used = at;
    return [slab.subarray(from, payloadAt), at === payloadAt ? [] : [slab.subarray(payloadAt, at)]];
  }
}

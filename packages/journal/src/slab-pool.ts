/** A request is served by a free slab of at most this many times its size. */
const wasteMax = 2;

/**
 * Buffers for blocks, used again. What is allocated and dropped for every block costs the collector a full mark per
 * few megabytes and the kernel fresh pages each time. A slab is a whole number of units; what is free is bounded.
 */
export class SlabPool {
  readonly #unitBytes: number;
  readonly #freeBytesMax: number;
  /** Free slabs by their number of units. */
  readonly #free: Buffer[][] = [];
  #freeBytes = 0;

  constructor(unitBytes: number, freeBytesMax: number) {
    this.#unitBytes = unitBytes;
    this.#freeBytesMax = freeBytesMax;
  }

  get freeBytes(): number {
    return this.#freeBytes;
  }

  /** A buffer of at least `bytes`; what it holds is left over from others. */
  take(bytes: number): Buffer {
    const units = Math.max(1, Math.ceil(bytes / this.#unitBytes));
    const most = Math.min(units * wasteMax, this.#free.length - 1);
    for (let fitting = units; fitting <= most; fitting++) {
      const slab = this.#free[fitting]?.pop();
      if (slab === undefined) continue;
      this.#freeBytes -= slab.length;
      return slab;
    }
    return Buffer.allocUnsafeSlow(units * this.#unitBytes);
  }

  /** Takes back what `take` gave, when nobody looks at it any more. */
  give(slab: Buffer): void {
    if (this.#freeBytes + slab.length > this.#freeBytesMax) return;
    const units = slab.length / this.#unitBytes;
    while (this.#free.length <= units) this.#free.push([]);
    this.#free[units]!.push(slab);
    this.#freeBytes += slab.length;
  }
}

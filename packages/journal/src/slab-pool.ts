export interface SlabPoolOptions {
  readonly unitBytes: number;
  /** What is free, at most. */
  readonly freeBytesMax: number;
  /** A request is served by a free slab of at most this many times its size. Default 2. */
  readonly wasteMax?: number;
}

/**
 * Buffers that are used again. What is allocated and dropped each time costs the collector a full mark per few
 * megabytes and the kernel fresh pages. A slab is a whole number of units; what is free is bounded, and sizes that are
 * asked for no more make room for those that are.
 */
export class SlabPool {
  readonly #unitBytes: number;
  readonly #freeBytesMax: number;
  readonly #wasteMax: number;
  /** Free slabs by their number of units; the size that was asked for last comes last. */
  readonly #free = new Map<number, Buffer[]>();
  #freeBytes = 0;

  constructor({ unitBytes, freeBytesMax, wasteMax = 2 }: SlabPoolOptions) {
    this.#unitBytes = unitBytes;
    this.#freeBytesMax = freeBytesMax;
    this.#wasteMax = wasteMax;
  }

  get freeBytes(): number {
    return this.#freeBytes;
  }

  /** A buffer of at least `bytes`; what it holds is left over from others. */
  take(bytes: number): Buffer {
    const units = Math.max(1, Math.ceil(bytes / this.#unitBytes));
    const most = Math.floor(units * this.#wasteMax);
    for (let fitting = units; fitting <= most; fitting++) {
      const slab = this.#free.get(fitting)?.pop();
      if (slab === undefined) continue;
      this.#freeBytes -= slab.length;
      return slab;
    }
    // The sizes that are free were not what was wanted: this one stays longer than they do.
    const none = this.#free.get(units) ?? [];
    this.#free.delete(units);
    this.#free.set(units, none);
    return Buffer.allocUnsafeSlow(units * this.#unitBytes);
  }

  /** Takes back what `take` gave, when nobody looks at it any more. */
  give(slab: Buffer): void {
    const units = slab.length / this.#unitBytes;
    let slabs = this.#free.get(units);
    if (slabs === undefined) {
      slabs = [];
      this.#free.set(units, slabs);
    }
    this.#makeRoom(slab.length, units);
    if (this.#freeBytes + slab.length > this.#freeBytesMax) return;
    slabs.push(slab);
    this.#freeBytes += slab.length;
  }

  /** Drops free slabs of the sizes that have been asked for least lately, but none of those behind `units`. */
  #makeRoom(bytes: number, units: number): void {
    for (const [size, slabs] of this.#free) {
      if (this.#freeBytes + bytes <= this.#freeBytesMax || size === units) return;
      while (slabs.length > 0 && this.#freeBytes + bytes > this.#freeBytesMax) {
        this.#freeBytes -= slabs.pop()!.length;
      }
      if (slabs.length === 0) this.#free.delete(size);
    }
  }
}

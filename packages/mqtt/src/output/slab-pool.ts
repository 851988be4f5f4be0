/** Bytes of one slab. */
export const slabBytes = 64 * 1024;
const pooledMax = 64;

/** Buffers that connections fill during a turn; an idle connection holds none. */
export class SlabPool {
  readonly #free: Buffer[] = [];

  take(): Buffer {
    return this.#free.pop() ?? Buffer.allocUnsafeSlow(slabBytes);
  }

  /** Takes back a slab whose bytes nobody needs any more. */
  give(slab: Buffer): void {
    if (this.#free.length < pooledMax) this.#free.push(slab);
  }
}

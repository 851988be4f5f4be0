/** Bytes of a slab for a connection that has much to send in a turn, */
export const slabBytes = 64 * 1024;
/** and for one that has little: thousands of them may be filled in the same turn. */
export const smallSlabBytes = 4 * 1024;
/** Free slabs of either kind, together 8 MiB. */
const pooledMax = 64;
export const smallPooledMax = 1024;

/** Buffers that connections fill during a turn; an idle connection holds none. */
export class SlabPool {
  readonly #free: Buffer[] = [];
  readonly #small: Buffer[] = [];

  /** A slab for about `bytes`: a small one if that fits, else a large one. */
  take(bytes: number): Buffer {
    if (bytes <= smallSlabBytes) return this.#small.pop() ?? Buffer.allocUnsafeSlow(smallSlabBytes);
    return this.#free.pop() ?? Buffer.allocUnsafeSlow(slabBytes);
  }

  /** Takes back a slab whose bytes nobody needs any more. */
  give(slab: Buffer): void {
    const isSmall = slab.length === smallSlabBytes;
    const free = isSmall ? this.#small : this.#free;
    if (free.length < (isSmall ? smallPooledMax : pooledMax)) free.push(slab);
  }
}

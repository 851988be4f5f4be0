import { assert } from '@robustmq/core';
import { SlabPool } from './slab-pool.ts';

const unitBytes = 1024;
/** Entries are counted by their bytes, so their slabs must not be much larger. */
const wasteMax = 1.25;
const sharedBytes = 16 * 1024;
/** A larger entry has a slab of its own: what is left of a shared one when it does not fit would be wasted. */
const sharedEntryBytesMax = sharedBytes / 4;

/** Memory of one large entry or of some small ones. */
export class TailSlab {
  readonly bytes: Buffer;
  used = 0;
  /** Entries in it that did not leave their tail. */
  entries = 0;
  /** Readers have views of it for as long as they like: it is not used again. */
  isGiven = false;

  constructor(bytes: Buffer) {
    this.bytes = bytes;
  }
}

/**
 * Memory for the entries of memory tails, used again when the last entry of a slab has left. An entry outlives two
 * small collections of garbage, so that memory of its own would wait for a full one: the more is appended, the
 * more often all of the heap is marked (docs/performance.md).
 */
export class TailMemory {
  readonly #pool: SlabPool;
  #shared: TailSlab | null = null;

  /** `spareBytesMax`: what is kept to be used again. */
  constructor(spareBytesMax: number) {
    this.#pool = new SlabPool({ unitBytes, freeBytesMax: spareBytesMax, wasteMax });
  }

  get spareBytes(): number {
    return this.#pool.freeBytes;
  }

  /** Copies an entry of `bytes` bytes in. It ends where the slab is used up to. */
  add(parts: readonly Buffer[], bytes: number): TailSlab {
    const slab = bytes > sharedEntryBytesMax ? new TailSlab(this.#pool.take(bytes)) : this.#sharedFor(bytes);
    const end = slab.used + bytes;
    for (const part of parts) slab.used += part.copy(slab.bytes, slab.used);
    assert(slab.used === end, 'an entry is as long as its parts');
    slab.entries++;
    return slab;
  }

  /** One entry of the slab has left its tail. */
  release(slab: TailSlab): void {
    slab.entries--;
    assert(slab.entries >= 0, 'an entry leaves once');
    if (slab !== this.#shared) this.#recycle(slab);
  }

  #sharedFor(bytes: number): TailSlab {
    const known = this.#shared;
    if (known !== null && known.used + bytes <= known.bytes.length) return known;
    this.#shared = new TailSlab(this.#pool.take(sharedBytes));
    if (known !== null) this.#recycle(known);
    return this.#shared;
  }

  #recycle(slab: TailSlab): void {
    if (slab.entries === 0 && !slab.isGiven) this.#pool.give(slab.bytes);
  }
}

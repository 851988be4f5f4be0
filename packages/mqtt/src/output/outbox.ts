import type { Transport } from '../transport/transport.ts';
import type { Flusher } from './flusher.ts';
import { smallSlabBytes } from './slab-pool.ts';

/** Up to this many bytes copying is cheaper than one more part of a gathered write. */
export const copyBytesMax = 8 * 1024;

/** When a connection holds too much. */
export interface OutboxBound {
  readonly unsentBytesMax: number;
  /** Called after a write that leaves more than that unsent. */
  full(): void;
  /** Called after a turn in which there was more than that to send, and it was taken at once. */
  relieved(): void;
}

const nowhere: Pick<Transport, 'unsentBytes' | 'write'> = { unsentBytes: 0, write: () => undefined };
const unbound: OutboxBound = {
  unsentBytesMax: Infinity,
  full: () => undefined,
  relieved: () => undefined,
};

/**
 * What one connection has to send: small packets are copied into a slab, large ones kept by reference; everything of a
 * turn leaves in one write.
 */
export class Outbox {
  /** The slab being filled, up to `used`; valid after `reserve`. */
  slab: Buffer | null = null;
  used = 0;
  /** Bytes that wait for the flush. */
  pendingBytes = 0;
  /** Whether all that waits can do so for a moment. */
  gathering = false;
  #writtenBytes = 0;
  /** What the last turn sent: the next one is likely to be like it. */
  #turnBytes = 0;
  #transport: Pick<Transport, 'unsentBytes' | 'write'>;
  readonly #flusher: Flusher;
  /** Filled slabs and large packets, in order before the present slab. */
  #parts: Buffer[] = [];
  /** Slabs behind `#parts`, which go back to the pool when they were sent at once. */
  #slabs: Buffer[] = [];
  /** Where the unsent rest of the present slab begins. */
  #from = 0;
  #dirty = false;
  #bound: OutboxBound;
  readonly #relieved = (): void => this.#bound.relieved();

  constructor(transport: Transport, flusher: Flusher, bound: OutboxBound) {
    this.#transport = transport;
    this.#flusher = flusher;
    this.#bound = bound;
  }

  /** Bytes that have not left this process. */
  get unsentBytes(): number {
    return this.pendingBytes + this.#transport.unsentBytes;
  }

  /** Bytes that have left this process since the beginning: a client that takes nothing does not move it. */
  get takenBytes(): number {
    return this.#writtenBytes - this.#transport.unsentBytes;
  }

  /**
   * A slab with room for `bytes` (at most `copyBytesMax`) at `used`; the caller writes there and then calls `filled`.
   */
  reserve(bytes: number): Buffer {
    let slab = this.slab;
    if (slab !== null && this.used + bytes > slab.length) {
      this.#closeSlab();
      slab = null;
    }
    if (slab === null) {
      slab = this.#flusher.pool.take(Math.max(this.#turnBytes, this.pendingBytes + bytes));
      this.slab = slab;
      this.used = 0;
      this.#from = 0;
    }
    return slab;
  }

  /** The slab was written up to `end`. */
  filled(end: number): void {
    this.pendingBytes += end - this.used;
    this.used = end;
    if (!this.#dirty) this.#markDirty();
  }

  /** Sends bytes that must not change until they have left: copied when small. */
  append(bytes: Buffer): void {
    if (bytes.length <= copyBytesMax) {
      const slab = this.reserve(bytes.length);
      slab.set(bytes, this.used);
      this.filled(this.used + bytes.length);
      return;
    }
    this.#cut();
    this.#parts.push(bytes);
    this.pendingBytes += bytes.length;
    if (!this.#dirty) this.#markDirty();
  }

  /** Writes everything of this turn. */
  flush(): void {
    this.#dirty = false;
    this.gathering = false;
    this.#cut();
    const parts = this.#parts;
    const slab = this.slab;
    if (slab !== null) {
      this.#slabs.push(slab);
      this.slab = null;
    }
    const slabs = this.#slabs;
    const over = this.unsentBytes > this.#bound.unsentBytesMax;
    this.#writtenBytes += this.pendingBytes;
    this.#turnBytes = this.pendingBytes;
    this.pendingBytes = 0;
    if (parts.length > 0) {
      this.#parts = [];
      this.#transport.write(parts);
    }
    this.#slabs = [];
    const unsent = this.#transport.unsentBytes;
    // Nothing is held back: the operating system has its own copy, and the slabs are free again.
    if (unsent === 0) {
      for (const used of slabs) this.#flusher.pool.give(used);
      if (over) queueMicrotask(this.#relieved);
    } else if (unsent > this.#bound.unsentBytesMax) this.#bound.full();
  }

  /** Forgets everything, transport and connection as well: what is written from now on goes nowhere. */
  drop(): void {
    if (this.slab !== null) this.#flusher.pool.give(this.slab);
    for (const slab of this.#slabs) this.#flusher.pool.give(slab);
    this.slab = null;
    this.#slabs = [];
    this.#parts = [];
    this.pendingBytes = 0;
    this.gathering = false;
    this.#transport = nowhere;
    this.#bound = unbound;
  }

  /** What was gathered goes out with this turn. */
  hurry(): void {
    if (this.gathering && !this.#dirty) this.#markDirty();
  }

  #markDirty(): void {
    const flusher = this.#flusher;
    if (flusher.gathers && this.pendingBytes < smallSlabBytes / 2) {
      if (this.gathering) return;
      this.gathering = flusher.gather(this);
      if (this.gathering) return;
    }
    this.#dirty = true;
    flusher.add(this);
  }

  #closeSlab(): void {
    this.#cut();
    this.#slabs.push(this.slab!);
    this.slab = null;
  }

  /** Ends the part that lies in the present slab. */
  #cut(): void {
    if (this.slab === null || this.used === this.#from) return;
    this.#parts.push(this.slab.subarray(this.#from, this.used));
    this.#from = this.used;
  }
}

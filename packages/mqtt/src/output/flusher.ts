import type { Outbox } from './outbox.ts';
import { SlabPool } from './slab-pool.ts';

/**
 * The connections that have something to send. All are written when the present callback of the event loop returns:
 * one write per connection for everything that a chunk read, a commit or a delivered batch produced.
 */
export class Flusher {
  readonly pool = new SlabPool();
  readonly #dirty: Outbox[] = [];
  readonly #run = (): void => this.flush();

  add(outbox: Outbox): void {
    if (this.#dirty.length === 0) queueMicrotask(this.#run);
    this.#dirty.push(outbox);
  }

  /** Writes what there is now. */
  flush(): void {
    for (const outbox of this.#dirty) outbox.flush();
    this.#dirty.length = 0;
  }
}

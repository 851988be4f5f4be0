import type { Clock, Timer } from '@robustmq/core';
import type { Outbox } from './outbox.ts';
import { SlabPool, smallPooledMax } from './slab-pool.ts';

/** How long what sessions read of their backlogs is gathered, ms, */
const gatherMs = 100;
/** for so many connections at a time, each of which holds a slab. */
const gatheringMax = smallPooledMax;

/**
 * The connections that have something to send. All are written when the present callback of the event loop returns:
 * one write per connection for everything that a chunk read, a commit or a delivered batch produced. Only what a
 * backlog's scan finds is gathered for longer: a thousand sessions that read one log get few messages each in a turn,
 * and a write of few messages costs ten times what finding them does.
 */
export class Flusher {
  readonly pool = new SlabPool();
  /** While it is true, connections that get something to send are gathered. */
  gathers = false;
  readonly #clock: Clock;
  readonly #dirty: Outbox[] = [];
  #gathered: Outbox[] = [];
  #timer: Timer | null = null;
  readonly #run = (): void => this.#write();
  readonly #runGathered = (): void => this.#writeGathered();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  add(outbox: Outbox): void {
    if (this.#dirty.length === 0) queueMicrotask(this.#run);
    this.#dirty.push(outbox);
  }

  /** Takes an outbox that can wait a moment; false when it has to be added. */
  gather(outbox: Outbox): boolean {
    if (this.#gathered.length >= gatheringMax) return false;
    this.#timer ??= this.#clock.after(gatherMs, this.#runGathered);
    this.#gathered.push(outbox);
    return true;
  }

  /** Waits for nothing more: what is gathered goes out now. */
  stop(): void {
    this.#timer?.cancel();
    this.#writeGathered();
  }

  #write(): void {
    for (const outbox of this.#dirty) outbox.flush();
    this.#dirty.length = 0;
  }

  #writeGathered(): void {
    const gathered = this.#gathered;
    this.#timer = null;
    this.#gathered = [];
    for (const outbox of gathered) if (outbox.gathering) outbox.flush();
  }
}

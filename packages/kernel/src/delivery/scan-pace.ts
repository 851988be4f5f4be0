import type { Clock } from '@robustmq/core';

/** Scans read this long in one turn of the event loop, all together, ms, */
const turnMs = 5;
/** and one of them at most this many blocks. */
const turnBlocks = 64;
/** Turns without anything longer than this belong to nobody else, ms. */
const quietMs = 0.05;
/** Turns that others get between two of ours, at most. */
const restTurnsMax = 8;
/** Readers that come this soon after one another are waited for, ms, */
const gatherMs = 20;
/** but no longer than this altogether, ms, */
const patienceMsMax = 1000;
/** which comes back as this share of all time. */
const patienceShare = 1 / 8;

/**
 * Divides the event loop between scans and everybody else. Scans read for some milliseconds at a stretch, so that what
 * they find for one session leaves in one write; then whoever else has something to do goes first: new connections
 * come one a turn, and each may have a reader that the next block should be read for. While such readers with much to
 * read come one after the other, nothing is read at all, within bounds: one pass over the log then serves them all.
 */
export class ScanPace {
  readonly #clock: Clock;
  #scans = 0;
  /** Who came with much to read: how many, how many of these the scans know of, and the last of them. */
  #came = 0;
  #seen = 0;
  #last: object | null = null;
  #patienceMs = patienceMsMax;
  #patienceAt = -Infinity;
  #resting: Promise<void> | null = null;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  begin(): void {
    // Whoever sets off the first scan is not waited for.
    if (this.#scans === 0) this.#seen = this.#came;
    this.#scans++;
  }

  end(): void {
    this.#scans--;
    if (this.#scans === 0) this.#last = null;
  }

  /** A subscriber has come that has much to read; its readers of several shards come together and count once. */
  came(subscriber: object): void {
    if (subscriber !== this.#last) this.#came++;
    this.#last = subscriber;
  }

  /** The share of one scan in one turn: says whether it may read one block more. */
  share(): () => boolean {
    const until = this.#clock.monotonic() + turnMs / Math.max(1, this.#scans);
    let blocks = 0;
    return () => ++blocks <= turnBlocks && (blocks === 1 || this.#clock.monotonic() < until);
  }

  /** Resolves, for all scans together, when the others had their turns, and no more readers are on their way. */
  rest(): Promise<void> {
    this.#resting ??= this.#rest().finally(() => {
      this.#resting = null;
    });
    return this.#resting;
  }

  async #rest(): Promise<void> {
    for (let turns = 0; turns < restTurnsMax; turns++) {
      const before = this.#clock.monotonic();
      await new Promise((resolve) => setImmediate(resolve));
      if (this.#clock.monotonic() - before < quietMs) break;
    }
    if (this.#seen !== this.#came) await this.#gather();
  }

  /** Waits while readers come. */
  async #gather(): Promise<void> {
    const began = this.#clock.monotonic();
    const patience = this.#patienceMs + (began - this.#patienceAt) * patienceShare;
    this.#patienceMs = Math.min(patience, patienceMsMax);
    let now = began;
    while (this.#seen !== this.#came && now - began < this.#patienceMs) {
      this.#seen = this.#came;
      await new Promise<void>((resolve) => void this.#clock.after(gatherMs, resolve));
      now = this.#clock.monotonic();
    }
    this.#seen = this.#came;
    this.#patienceMs -= now - began;
    this.#patienceAt = now;
  }
}

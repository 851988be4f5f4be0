import type { Clock } from '@robustmq/core';

/** Scans read this long in one turn of the event loop, all together, ms, */
const turnMs = 5;
/** and one of them at most this many blocks. */
const turnBlocks = 64;
/** Turns without anything longer than this belong to nobody else, ms. */
const quietMs = 0.05;
/** Turns that others get between two of ours, at most. */
const restTurnsMax = 8;

/**
 * Divides the event loop between scans and everybody else. Scans read for some milliseconds at a stretch, so that what
 * they find for one session leaves in one write; then whoever else has something to do goes first: new connections
 * come one a turn, and each may have a reader that the next block should be read for.
 */
export class ScanPace {
  readonly #clock: Clock;
  #scans = 0;
  #resting: Promise<void> | null = null;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  begin(): void {
    this.#scans++;
  }

  end(): void {
    this.#scans--;
  }

  /** The share of one scan in one turn: says whether it may read one block more. */
  share(): () => boolean {
    const until = this.#clock.monotonic() + turnMs / Math.max(1, this.#scans);
    let blocks = 0;
    return () => ++blocks <= turnBlocks && (blocks === 1 || this.#clock.monotonic() < until);
  }

  /** Resolves, for all scans together, when the others had their turns. */
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
      if (this.#clock.monotonic() - before < quietMs) return;
    }
  }
}

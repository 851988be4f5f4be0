import { assert } from '@robustmq/core';
import type { Segment } from './segment.ts';

/**
 * Segments with entries that are in no file, the one that waits longest first. Knows from which generation on the
 * write-ahead log is needed without looking at each of them: 10,000 shards may wait.
 */
export class DirtySegments implements Iterable<Segment> {
  readonly #segments = new Set<Segment>();
  /** How many of them need this generation first. */
  readonly #generations = new Map<number, number>();

  [Symbol.iterator](): Iterator<Segment> {
    return this.#segments.values();
  }

  /** Puts it last, unless it is here. `now` is by the monotonic clock. */
  add(segment: Segment, now: number): void {
    if (this.#segments.has(segment)) return;
    const generation = segment.oldestGeneration;
    assert(Number.isFinite(generation), 'a dirty segment has an entry in memory that is in no file');
    segment.dirtySince = now;
    segment.dirtyGeneration = generation;
    this.#segments.add(segment);
    this.#generations.set(generation, (this.#generations.get(generation) ?? 0) + 1);
  }

  /** Whether it was here. */
  delete(segment: Segment): boolean {
    if (!this.#segments.delete(segment)) return false;
    const left = this.#generations.get(segment.dirtyGeneration)! - 1;
    if (left > 0) this.#generations.set(segment.dirtyGeneration, left);
    else this.#generations.delete(segment.dirtyGeneration);
    return true;
  }

  /** The oldest generation of the log that one of these needs; `atMost` when none needs an older one. */
  oldestGeneration(atMost: number): number {
    let oldest = atMost;
    for (const generation of this.#generations.keys()) oldest = Math.min(oldest, generation);
    return oldest;
  }
}

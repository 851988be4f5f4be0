import type { Clock, Timer } from '@robustmq/core';

/** Wall time of a fresh simulation, ms since 1970. */
const epochMs = 1_700_000_000_000;

interface SimTimer extends Timer {
  due: number;
  order: number;
  task: (() => void) | null;
}

/**
 * Virtual time. Timers fire in order of their time, those of one time in order of creation, and everything that a
 * timer set off (microtasks, immediates) has run before the next one fires.
 */
export class SimClock implements Clock {
  #elapsed = 0;
  #wallShift = 0;
  #order = 0;
  /** A binary heap by (due, order). */
  readonly #heap: SimTimer[] = [];

  now(): number {
    return epochMs + this.#wallShift + this.#elapsed;
  }

  monotonic(): number {
    return this.#elapsed;
  }

  after(delayMs: number, task: () => void): Timer {
    const timer: SimTimer = {
      due: this.#elapsed + Math.max(0, delayMs),
      order: this.#order++,
      task,
      cancel: () => {
        timer.task = null;
      },
    };
    this.#push(timer);
    return timer;
  }

  /** Timers that are set, cancelled ones that were not reached yet included. */
  get pending(): number {
    return this.#heap.length;
  }

  /** Makes the wall clock jump; monotonic time and timers do not notice. */
  shiftWall(ms: number): void {
    this.#wallShift += ms;
  }

  /** Moves time forward by `ms` and runs what falls due. */
  async advance(ms: number): Promise<void> {
    const end = this.#elapsed + ms;
    await settle();
    for (let next = this.#heap[0]; next !== undefined && next.due <= end; next = this.#heap[0]) {
      this.#pop();
      if (next.task === null) continue;
      this.#elapsed = next.due;
      next.task();
      await settle();
    }
    // Whoever else moved time on meanwhile may have come further.
    this.#elapsed = Math.max(this.#elapsed, end);
  }

  /** Moves time to the next timer, if any, until `done` holds; rejects after `limitMs` of virtual time. */
  async advanceUntil(done: () => boolean, limitMs = 3_600_000): Promise<void> {
    const end = this.#elapsed + limitMs;
    await settle();
    while (!done()) {
      const next = this.#heap[0];
      if (next === undefined || next.due > end) throw new Error('the simulation came to rest too early');
      await this.advance(next.due - this.#elapsed);
    }
  }

  #push(timer: SimTimer): void {
    const heap = this.#heap;
    let at = heap.length;
    heap.push(timer);
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!before(timer, heap[parent]!)) break;
      heap[at] = heap[parent]!;
      at = parent;
    }
    heap[at] = timer;
  }

  #pop(): void {
    const heap = this.#heap;
    const last = heap.pop()!;
    if (heap.length === 0) return;
    let at = 0;
    while (true) {
      let child = at * 2 + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && before(heap[child + 1]!, heap[child]!)) child++;
      if (!before(heap[child]!, last)) break;
      heap[at] = heap[child]!;
      at = child;
    }
    heap[at] = last;
  }
}

/** Resolves when all microtasks, and what they scheduled for this turn, have run. */
export function settle(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

function before(left: SimTimer, right: SimTimer): boolean {
  return left.due < right.due || (left.due === right.due && left.order < right.order);
}

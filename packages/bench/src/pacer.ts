/** Timers of Node do not fire more often than this. */
const tickMs = 1;
/** After a pause of the generator itself it makes up for at most this much. */
const arrearsMs = 100;

/**
 * Says how many messages are due, once a millisecond, whether or not earlier ones were answered: the load does
 * not slow down with the server, so waiting is part of the latency.
 */
export class Pacer {
  /** Messages that were due so far. */
  due = 0;
  readonly #perMs: number;
  readonly #emit: (count: number, nowMs: number) => void;
  #timer: NodeJS.Timeout | null = null;
  #lastMs = 0;
  #fraction = 0;

  constructor(perSecond: number, emit: (count: number, nowMs: number) => void) {
    this.#perMs = perSecond / 1000;
    this.#emit = emit;
  }

  start(): void {
    this.#lastMs = performance.now();
    this.#timer = setInterval(() => this.tick(performance.now()), tickMs);
  }

  stop(): void {
    if (this.#timer !== null) clearInterval(this.#timer);
  }

  tick(nowMs: number): void {
    const elapsedMs = Math.min(nowMs - this.#lastMs, arrearsMs);
    this.#lastMs = nowMs;
    this.#fraction += elapsedMs * this.#perMs;
    const count = Math.floor(this.#fraction);
    if (count === 0) return;
    this.#fraction -= count;
    this.due += count;
    this.#emit(count, nowMs);
  }
}

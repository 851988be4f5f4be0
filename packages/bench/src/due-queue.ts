/** Requests that are due and wait for room, by the time they were due. Full, it takes no more: the rate is then missed. */
export class DueQueue {
  readonly #times: Float64Array;
  #head = 0;
  #length = 0;

  constructor(capacity: number) {
    this.#times = new Float64Array(capacity);
  }

  get length(): number {
    return this.#length;
  }

  push(ms: number): void {
    if (this.#length === this.#times.length) return;
    this.#times[(this.#head + this.#length) % this.#times.length] = ms;
    this.#length++;
  }

  /** The earliest; the queue must not be empty. */
  shift(): number {
    const ms = this.#times[this.#head] as number;
    this.#head = (this.#head + 1) % this.#times.length;
    this.#length--;
    return ms;
  }
}

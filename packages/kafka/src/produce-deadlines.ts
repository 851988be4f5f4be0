import type { Clock } from '@robustmq/core';
import { Pulse } from '@robustmq/core';

/** Deadlines are looked at this often: an answer is as much later at most. */
const checkMs = 100;

/** A produce request that is not answered, and its neighbours in the list of them. */
export abstract class OpenCall {
  /** By the monotonic clock. */
  abstract readonly dueAt: number;
  before: OpenCall | null = null;
  next: OpenCall | null = null;

  /** It is answered now, whatever became of it. Called once. */
  abstract expire(): void;
}

/**
 * The deadlines of produce requests, which the clients set; the timer stands still while no request is open. A list
 * through the calls, and no `Set`: its replaced tables point to each other, and one that has grown old would keep what
 * came after it until the next full collection (docs/performance.md).
 */
export class ProduceDeadlines {
  #first: OpenCall | null = null;
  #last: OpenCall | null = null;
  readonly #clock: Clock;
  readonly #pulse: Pulse;
  #beating = false;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#pulse = new Pulse(clock, checkMs, () => this.#check());
  }

  /** When a call that may take so long from now on is due. */
  dueIn(timeoutMs: number): number {
    return this.#clock.monotonic() + timeoutMs;
  }

  add(call: OpenCall): void {
    call.before = this.#last;
    if (this.#last === null) this.#first = call;
    else this.#last.next = call;
    this.#last = call;
    if (this.#beating) return;
    this.#beating = true;
    this.#pulse.start();
  }

  /** Takes a call out; nothing happens if it is not in. */
  remove(call: OpenCall): void {
    const { before, next } = call;
    if (before === null && this.#first !== call) return;
    if (before === null) this.#first = next;
    else before.next = next;
    if (next === null) this.#last = before;
    else next.before = before;
    call.before = null;
    call.next = null;
  }

  /** Looks at no deadline any more; calls that are open go on until they are settled. */
  stop(): void {
    this.#pulse.stop();
    this.#beating = false;
  }

  #check(): void {
    if (this.#first === null) {
      this.stop();
      return;
    }
    const now = this.#clock.monotonic();
    let next: OpenCall | null;
    for (let call: OpenCall | null = this.#first; call !== null; call = next) {
      // Answers leave in a later step: no call is settled by another's end.
      next = call.next;
      if (call.dueAt > now) continue;
      this.remove(call);
      call.expire();
    }
  }
}

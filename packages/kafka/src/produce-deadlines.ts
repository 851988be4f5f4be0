import type { Clock } from '@robustmq/core';
import { Pulse } from '@robustmq/core';

/** Deadlines are looked at this often: an answer is as much later at most. */
const checkMs = 100;

/** A produce request that is not answered. */
export interface OpenCall {
  /** By the monotonic clock. */
  readonly dueAt: number;
  /** It is answered now, whatever became of it. Called once. */
  expire(): void;
}

/**
 * The deadlines of produce requests, which the clients set. Costs an entry in a set for a request; the timer stands
 * still while no request is open.
 */
export class ProduceDeadlines {
  readonly #calls = new Set<OpenCall>();
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
    this.#calls.add(call);
    if (this.#beating) return;
    this.#beating = true;
    this.#pulse.start();
  }

  /** The call was answered in time. */
  remove(call: OpenCall): void {
    this.#calls.delete(call);
  }

  stop(): void {
    this.#calls.clear();
    this.#pulse.stop();
    this.#beating = false;
  }

  #check(): void {
    if (this.#calls.size === 0) {
      this.stop();
      return;
    }
    const now = this.#clock.monotonic();
    for (const call of this.#calls) {
      if (call.dueAt > now) continue;
      this.#calls.delete(call);
      call.expire();
    }
  }
}

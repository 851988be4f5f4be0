import type { RobustError } from '@robustmq/core';
import type { BatchListener, KernelErrorCode, LogBatch } from '@robustmq/kernel';
import { refusalCode } from '../error-map.ts';
import { TimerItem } from '../timers.ts';

/** What a connection does with the outcome of its publishes. */
export interface PublishOutcomes {
  /** Acknowledge: PUBACK or PUBREC. `code` 0 is success. */
  answered(packetId: number, qos: 1 | 2, code: number): void;
  /** A publish has no outcome: it must not be acknowledged, and the client must hear of it by our closing. */
  undecided(error: RobustError<KernelErrorCode> | null): void;
  /** Monotonic, ms. */
  now(): number;
  /** Makes the item due when the queue is overdue, if nothing moves: it has not for `sinceMs`. */
  watch(item: TimerItem, sinceMs: number): void;
  /** Whether a queue is given up in which nothing has moved for so long. */
  isOverdue(sinceMs: number): boolean;
}

/** No reason code. */
const undecidedCode = -1;

interface Pending {
  packetId: number;
  qos: 1 | 2;
  /** Null: decided already, with `code`. */
  batch: LogBatch | null;
  code: number;
}

/**
 * Publishes of one connection that wait for their commit, in the order in which they came: that is the order of their
 * acknowledgements, whichever shard answers first (MQTT-4.6.0-2, MQTT-4.6.0-3).
 */
export class PublishQueue extends TimerItem implements BatchListener {
  readonly #outcomes: PublishOutcomes;
  readonly #pending: Pending[] = [];
  #head = 0;
  #givenUp = false;
  /** When the head was decided last, or the first publish came. */
  #movedAt = 0;
  #watched = false;
  #settledWaiters: (() => void)[] = [];

  constructor(outcomes: PublishOutcomes) {
    super();
    this.#outcomes = outcomes;
  }

  /**
   * Whether one of them gets no answer any more: what comes behind it must not be taken, or it would be stored before the
   * other, which the client sends again.
   */
  get givenUp(): boolean {
    return this.#givenUp;
  }

  /** Publishes without an outcome. */
  get size(): number {
    return this.#pending.length - this.#head;
  }

  /** Waits for the commit of `batch`. */
  add(packetId: number, qos: 1 | 2, batch: LogBatch): void {
    batch.listen(this);
    this.#push({ packetId, qos, batch, code: 0 });
  }

  /** Answers in its turn with a code that is known already. */
  addDecided(packetId: number, qos: 1 | 2, code: number): void {
    this.#push({ packetId, qos, batch: null, code });
    this.#advance();
  }

  /** Was not taken, and may be if it comes again: gets no answer, and nothing behind it does. */
  addUndecided(packetId: number, qos: 1 | 2): void {
    this.#givenUp = true;
    this.#push({ packetId, qos, batch: null, code: undecidedCode });
    this.#advance();
  }

  /** Resolves when every batch has an outcome; null when that is so now. */
  whenSettled(): Promise<void> | null {
    if (this.#unsettled() === 0) return null;
    return new Promise((resolve) => this.#settledWaiters.push(resolve));
  }

  settled(): void {
    this.#advance();
    if (this.#settledWaiters.length === 0 || this.#unsettled() > 0) return;
    for (const waiter of this.#settledWaiters.splice(0)) waiter();
  }

  /** Nothing has moved since the deadline was set, or it is set again. */
  expire(): void {
    this.#watched = false;
    if (this.size === 0) return;
    const sinceMs = this.#outcomes.now() - this.#movedAt;
    if (this.#outcomes.isOverdue(sinceMs)) this.#outcomes.undecided(null);
    else this.#watch(sinceMs);
  }

  #push(pending: Pending): void {
    if (this.size === 0) this.#movedAt = this.#outcomes.now();
    this.#pending.push(pending);
    if (!this.#watched) this.#watch(0);
  }

  #watch(sinceMs: number): void {
    this.#watched = true;
    this.#outcomes.watch(this, sinceMs);
  }

  #advance(): void {
    const pending = this.#pending;
    let moved = false;
    while (this.#head < pending.length) {
      const next = pending[this.#head]!;
      let code: number | null = next.code;
      if (next.batch !== null) {
        if (!next.batch.settled) break;
        const { error } = next.batch;
        if (error !== null) code = refusalCode(error.code);
      }
      if (code === null || code === undecidedCode) {
        this.#givenUp = true;
        break;
      }
      // The batch must not stay in memory until the array is cut.
      next.batch = null;
      this.#head++;
      moved = true;
      this.#outcomes.answered(next.packetId, next.qos, code);
    }
    if (moved) this.#movedAt = this.#outcomes.now();
    if (this.#head === pending.length) {
      pending.length = 0;
      this.#head = 0;
    } else if (this.#head >= 1024) {
      pending.splice(0, this.#head);
      this.#head = 0;
    }
  }

  #unsettled(): number {
    let count = 0;
    for (let at = this.#head; at < this.#pending.length; at++) {
      if (this.#pending[at]!.batch?.settled === false) count++;
    }
    return count;
  }
}

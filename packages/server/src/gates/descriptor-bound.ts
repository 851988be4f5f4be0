import { readFileSync } from 'node:fs';
import type { Clock } from '@robustmq/core';

/** Where Linux says what a process may open; elsewhere there is no bound that we know. */
const limitsFile = '/proc/self/limits';
/** The limit may be changed while the process runs: it is looked up so often. */
const lookEveryMs = 1000;

/** Descriptors that this process may open; Infinity where nobody says so. */
export function descriptorLimit(): number {
  try {
    const match = /^Max open files\s+(\d+)/m.exec(readFileSync(limitsFile, 'utf8'));
    return match === null ? Infinity : Number(match[1]);
  } catch {
    return Infinity;
  }
}

/**
 * Keeps descriptors for what is not a connection: a journal that can't open its files ends the process, so a flood of
 * connections must not take them.
 */
export class DescriptorBound {
  readonly #clock: Clock;
  readonly #reserved: number;
  readonly #limitOf: () => number;
  #limit = 0;
  #lookedAt = -Infinity;
  #connections = 0;

  /** `reserved` descriptors are left to others. */
  constructor(clock: Clock, reserved: number, limitOf: () => number = descriptorLimit) {
    this.#clock = clock;
    this.#reserved = reserved;
    this.#limitOf = limitOf;
  }

  /** Counts one more connection; false when it would take a descriptor that is reserved. */
  take(): boolean {
    const now = this.#clock.monotonic();
    if (now - this.#lookedAt >= lookEveryMs) {
      this.#lookedAt = now;
      this.#limit = this.#limitOf();
    }
    if (this.#connections >= this.#limit - this.#reserved) return false;
    this.#connections++;
    return true;
  }

  /** A connection that was counted has ended. */
  give(): void {
    this.#connections--;
  }
}

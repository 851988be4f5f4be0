import { totalmem } from 'node:os';
import { getHeapStatistics, setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import type { Clock, Lifecycle, Logger, PublishGate, Timer } from '@robustmq/core';

export interface MemoryLimits {
  /** Memory of this process, bytes; 0: what the machine, or its control group, has. */
  readonly bytes: number;
  /** From this part of it on, percent, connections that bring records are not read. */
  readonly pausePercent: number;
  /** From this part of it on, percent, new connections are refused. */
  readonly refusePercent: number;
}

export interface MemoryModules {
  readonly clock: Clock;
  readonly logger: Logger;
  /** Bytes in use now, of the heap and in all. */
  readonly usage: () => MemoryUsage;
  /** Frees what is not needed; may take long. */
  readonly collect: () => void;
}

export interface MemoryUsage {
  readonly heapBytes: number;
  readonly heapBytesMax: number;
  /** Heap and buffers. */
  readonly bytes: number;
}

const checkMs = 250;
/** A full collection stops everything for a moment, on a large heap for long: not more often than this, */
const collectEveryMs = 5000;
/** and with pauses of at least this many times what the last one took. */
const collectRestFactor = 20;
/** It opens again this far below the mark, percent. */
const hysteresisPercent = 5;

/**
 * Looks at the memory of the process a few times a second. What counts is what is in use: the heap and the buffers, of the
 * whole, or the heap of its own bound, whichever is nearer. The resident size would not do: freed memory often
 * stays with the process. Above a mark garbage is collected before anything is refused.
 */
export class MemoryWatch implements Lifecycle, PublishGate {
  readonly #limits: MemoryLimits;
  readonly #modules: MemoryModules;
  readonly #waiting = new Set<() => void>();
  #timer: Timer | null = null;
  #closed = false;
  #refusing = false;
  #pauses = 0;
  #bytes = 0;
  /** When garbage may be collected again, monotonic ms. */
  #collectAfter = -Infinity;

  constructor(limits: MemoryLimits, modules: MemoryModules) {
    this.#limits = { ...limits, bytes: limits.bytes === 0 ? availableBytes() : limits.bytes };
    this.#modules = modules;
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** Whether there is no room for new connections. */
  get refusing(): boolean {
    return this.#refusing;
  }

  /** For an operator: what is in use, of how much, and how often it was too much. */
  get figures(): { readonly bytes: number; readonly bytesMax: number; readonly pauses: number } {
    return { bytes: this.#bytes, bytesMax: this.#limits.bytes, pauses: this.#pauses };
  }

  whenOpen(task: () => void): void {
    this.#waiting.add(task);
  }

  forget(task: () => void): void {
    this.#waiting.delete(task);
  }

  async start(): Promise<void> {
    this.#check();
    this.#watch();
  }

  async stop(): Promise<void> {
    this.#timer?.cancel();
    this.#timer = null;
  }

  #watch(): void {
    this.#timer = this.#modules.clock.after(checkMs, () => {
      this.#check();
      this.#watch();
    });
  }

  #check(): void {
    const { pausePercent, refusePercent } = this.#limits;
    const percent = this.#percent();
    // What is freed shows a moment later: the next look decides.
    if (percent >= pausePercent && this.#collected() && !this.#closed) return;
    this.#refusing = percent >= refusePercent - (this.#refusing ? hysteresisPercent : 0);
    const closed = percent >= pausePercent - (this.#closed ? hysteresisPercent : 0);
    if (closed === this.#closed) return;
    this.#closed = closed;
    const { logger } = this.#modules;
    if (closed) {
      this.#pauses++;
      logger.warn({ percent: Math.round(percent), ...this.figures }, 'memory is short: publishers wait');
      return;
    }
    logger.info({ percent: Math.round(percent) }, 'memory is there again: publishers go on');
    const tasks = [...this.#waiting];
    this.#waiting.clear();
    for (const task of tasks) task();
  }

  #percent(): number {
    const { heapBytes, heapBytesMax, bytes } = this.#modules.usage();
    this.#bytes = bytes;
    return 100 * Math.max(bytes / this.#limits.bytes, heapBytes / heapBytesMax);
  }

  #collected(): boolean {
    const { clock, collect } = this.#modules;
    const start = clock.monotonic();
    if (start < this.#collectAfter) return false;
    collect();
    const end = clock.monotonic();
    this.#collectAfter = end + Math.max(collectEveryMs, (end - start) * collectRestFactor);
    return true;
  }
}

/** Of the machine, or of the control group that the process is in. */
function availableBytes(): number {
  const constrained = process.constrainedMemory();
  const total = totalmem();
  return constrained > 0 && constrained < total ? constrained : total;
}

/** What this process uses. */
export function processMemory(): MemoryUsage {
  const { heapUsed, external } = process.memoryUsage();
  return {
    heapBytes: heapUsed,
    heapBytesMax: getHeapStatistics().heap_size_limit,
    bytes: heapUsed + external,
  };
}

let collector: (() => void) | null = null;

/** A full garbage collection; buffers that nobody holds are freed by it. */
export function collectGarbage(): void {
  if (collector === null) {
    setFlagsFromString('--expose-gc');
    collector = runInNewContext('gc') as () => void;
  }
  collector();
}

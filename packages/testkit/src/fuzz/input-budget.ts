import { getHeapStatistics } from 'node:v8';

/** Longest that one input may take, ms. */
const inputMsMax = 50;
/** Above this it is looked at again: a pause of the machine or the collector does not repeat. */
const suspectMs = 5;
const attempts = 4;
/** What decoding an input may allocate: some times its size, a first buffer of 128 KiB, and errors with their stacks. */
const allocatedPerByte = 10;
const freeBytesDefault = 256 * 1024;

/** Holds decoders to a time and to an amount of memory for each input. */
export class InputBudget {
  /** The longest that an input took, the best of a few attempts where it took long. */
  slowestMs = 0;
  readonly #freeBytes: number;

  /** `freeBytes`: what decoding may allocate whatever the size of its input. */
  constructor(freeBytes = freeBytesDefault) {
    this.#freeBytes = freeBytes;
  }

  /** Runs `decode`, again where it seems to exceed the budget; throws if it does each time. */
  spend<T>(inputBytes: number, decode: () => T): T {
    for (const attempts = this.#attempts(inputBytes); ; ) {
      attempts.begin();
      const result = decode();
      if (attempts.end()) return result;
    }
  }

  /** The same for what is done in many turns, in which nothing else runs. */
  async spendAsync<T>(inputBytes: number, decode: () => Promise<T>): Promise<T> {
    for (const attempts = this.#attempts(inputBytes); ; ) {
      attempts.begin();
      const result = await decode();
      if (attempts.end()) return result;
    }
  }

  #attempts(inputBytes: number): Attempts {
    const allowed = allocatedPerByte * inputBytes + this.#freeBytes;
    return new Attempts({ inputBytes, allowed }, (bestMs) => {
      this.slowestMs = Math.max(this.slowestMs, bestMs);
    });
  }
}

/** The attempts at one input. */
class Attempts {
  readonly #inputBytes: number;
  readonly #allowed: number;
  readonly #done: (bestMs: number) => void;
  #count = 0;
  #bestMs = Infinity;
  #leastBytes = Infinity;
  #held = 0;
  #from = 0;

  /** `allowed`: bytes that one may allocate; `done` is told how long the best one took, ms. */
  constructor(
    { inputBytes, allowed }: { readonly inputBytes: number; readonly allowed: number },
    done: (bestMs: number) => void,
  ) {
    this.#inputBytes = inputBytes;
    this.#allowed = allowed;
    this.#done = done;
  }

  begin(): void {
    this.#held = allocatedBytes();
    this.#from = performance.now();
  }

  /** Whether no other attempt is needed; throws if none was within the budget. */
  end(): boolean {
    this.#bestMs = Math.min(this.#bestMs, performance.now() - this.#from);
    this.#leastBytes = Math.min(this.#leastBytes, allocatedBytes() - this.#held);
    const fits = this.#bestMs <= suspectMs && this.#leastBytes <= this.#allowed;
    if (!fits && ++this.#count < attempts) return false;
    this.#done(this.#bestMs);
    if (this.#bestMs > inputMsMax) throw new Error(`${this.#inputBytes} bytes took ${this.#bestMs} ms`);
    if (this.#leastBytes > this.#allowed)
      throw new Error(`${this.#inputBytes} bytes allocated ${this.#leastBytes}`);
    return true;
  }
}

/** Falls with each collection, which hides some inputs' allocations, but never makes up any. */
function allocatedBytes(): number {
  const { used_heap_size: heap, external_memory: external } = getHeapStatistics();
  return heap + external;
}

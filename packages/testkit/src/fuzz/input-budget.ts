import { getHeapStatistics } from 'node:v8';

/** Longest that one input may take, ms. */
const inputMsMax = 50;
/** Above this it is looked at again: a pause of the machine or the collector does not repeat. */
const suspectMs = 5;
const attempts = 4;
/** What decoding an input may allocate: some times its size, a first buffer of 128 KiB, and errors with their stacks. */
const allocatedPerByte = 10;
const allocatedFree = 256 * 1024;

/** Holds decoders to a time and to an amount of memory for each input. */
export class InputBudget {
  /** The longest that an input took, the best of a few attempts where it took long. */
  slowestMs = 0;

  /** Runs `decode`, again where it seems to exceed the budget; throws if it does each time. */
  spend<T>(inputBytes: number, decode: () => T): T {
    const allowed = allocatedPerByte * inputBytes + allocatedFree;
    let bestMs = Infinity;
    let leastBytes = Infinity;
    for (let attempt = 1; ; attempt++) {
      const held = allocatedBytes();
      const from = performance.now();
      const result = decode();
      bestMs = Math.min(bestMs, performance.now() - from);
      leastBytes = Math.min(leastBytes, allocatedBytes() - held);
      const fits = bestMs <= suspectMs && leastBytes <= allowed;
      if (!fits && attempt < attempts) continue;
      this.slowestMs = Math.max(this.slowestMs, bestMs);
      if (bestMs > inputMsMax) throw new Error(`${inputBytes} bytes took ${bestMs} ms`);
      if (leastBytes > allowed) throw new Error(`${inputBytes} bytes allocated ${leastBytes}`);
      return result;
    }
  }
}

/** Falls with each collection, which hides some inputs' allocations, but never makes up any. */
function allocatedBytes(): number {
  const { used_heap_size: heap, external_memory: external } = getHeapStatistics();
  return heap + external;
}

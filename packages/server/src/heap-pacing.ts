import { getHeapStatistics, setFlagsFromString } from 'node:v8';

/** How much garbage, buffers outside of the heap included, a small heap may gather before a full collection. */
const garbageBytes = 96 * 1024 * 1024;
/** Above this V8's own pace is the better one: it collects rarely enough, and a multiple of a large heap is too much. */
const smallHeapBytes = 192 * 1024 * 1024;
const intervalMs = 10_000;

/**
 * Percent of its own size by which a heap of `usedBytes` may grow between two full collections; 0 leaves it to V8.
 * In steps of two, since V8 compares code that it has kept with the flags it was made under.
 */
export function heapGrowth(usedBytes: number): number {
  if (usedBytes > smallHeapBytes) return 0;
  const times = 2 ** Math.floor(Math.log2(garbageBytes / Math.max(usedBytes, garbageBytes / 8)));
  return Math.max(times, 1) * 100;
}

/**
 * Collects a small heap less often. V8 counts what sockets and files are read into towards the next full collection and
 * allows a heap of 20 MB another 15 MB; at 300 MB/s of such buffers it would trace the whole heap twenty times a
 * second, for two thirds of the process's time (docs/performance.md).
 */
export function paceHeap(): void {
  let set = -1;
  const pace = (): void => {
    const growth = heapGrowth(getHeapStatistics().used_heap_size);
    if (growth === set) return;
    set = growth;
    setFlagsFromString(`--heap-growing-percent=${growth}`);
  };
  pace();
  setInterval(pace, intervalMs).unref();
}

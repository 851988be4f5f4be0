/** Below this, a plain loop is faster than the call into the engine and the view that it needs. */
const loopBytesMax = 96;

/** Copies `source[start, end)` to `target[at...)`; returns the position after it. Ranges are the caller's to check. */
export function copyBytes(
  target: Uint8Array,
  at: number,
  source: Uint8Array,
  start: number,
  end: number,
): number {
  if (end - start <= loopBytesMax) {
    for (let i = start; i < end; i++) target[at++] = source[i] as number;
    return at;
  }
  target.set(start === 0 && end === source.length ? source : source.subarray(start, end), at);
  return at + end - start;
}

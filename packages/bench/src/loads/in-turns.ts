/** Handshakes under way at once, so that a server's accept queue never overflows. */
const concurrency = 64;

/** Runs `open` for 0 up to `count`, a bounded number at a time; the results are in the order of the numbers. */
export async function inTurns<T>(count: number, open: (index: number) => Promise<T>): Promise<T[]> {
  const results: T[] = [];
  let next = 0;
  const openSome = async () => {
    while (next < count) {
      const index = next++;
      results[index] = await open(index);
    }
  };
  await Promise.all(Array.from({ length: Math.min(concurrency, count) }, openSome));
  return results;
}

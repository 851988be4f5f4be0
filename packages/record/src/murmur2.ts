const multiplier = 0x5bd1e995;
const seed = 0x9747b28c;

/**
 * 32-bit MurmurHash2 of `key[start, end)` as a signed int32, with the seed that clients of record batch v2
 * use to place a key: `(partitionHash(key) & 0x7fffffff) % shards`.
 */
export function partitionHash(key: Uint8Array, start = 0, end = key.length): number {
  const length = end - start;
  let hash = seed ^ length;
  const wordsEnd = start + (length & ~3);
  for (let i = start; i < wordsEnd; i += 4) {
    const word =
      (key[i] as number) |
      ((key[i + 1] as number) << 8) |
      ((key[i + 2] as number) << 16) |
      ((key[i + 3] as number) << 24);
    const product = Math.imul(word, multiplier);
    hash = Math.imul(hash, multiplier) ^ Math.imul(product ^ (product >>> 24), multiplier);
  }
  const left = length & 3;
  if (left > 2) hash ^= (key[wordsEnd + 2] as number) << 16;
  if (left > 1) hash ^= (key[wordsEnd + 1] as number) << 8;
  if (left > 0) hash = Math.imul(hash ^ (key[wordsEnd] as number), multiplier);
  hash = Math.imul(hash ^ (hash >>> 13), multiplier);
  return hash ^ (hash >>> 15);
}

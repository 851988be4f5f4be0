const c1 = 0xcc9e2d51;
const c2 = 0x1b873593;

/** 32-bit MurmurHash3 of `bytes[start, end)`, unsigned. For filters; not for placement (`partitionHash`). */
export function murmur3(bytes: Uint8Array, start: number, end: number, seed: number): number {
  let hash = seed | 0;
  let at = start;
  for (; at + 4 <= end; at += 4) {
    hash = mixWord(
      hash,
      (bytes[at] as number) |
        ((bytes[at + 1] as number) << 8) |
        ((bytes[at + 2] as number) << 16) |
        ((bytes[at + 3] as number) << 24),
    );
  }
  if (at < end) {
    let tail = 0;
    for (let shift = 0; at < end; at++, shift += 8) tail |= (bytes[at] as number) << shift;
    hash ^= scramble(tail);
  }
  return finished(hash, end - start);
}

/**
 * The same hash over several ranges in turn, as if they were one: a subject is hashed from its topic and key
 * without being put together. `reset` makes it ready for the next one.
 */
export class Murmur3 {
  #hash: number;
  /** Bytes that do not fill a word yet, lowest first. */
  #tail = 0;
  #length = 0;

  constructor(seed = 0) {
    this.#hash = seed | 0;
  }

  reset(seed: number): this {
    this.#hash = seed | 0;
    this.#tail = 0;
    this.#length = 0;
    return this;
  }

  update(bytes: Uint8Array, start = 0, end = bytes.length): this {
    let hash = this.#hash;
    let at = start;
    // Bytes are taken singly until the words are aligned with the whole input, not with this range.
    while ((this.#length & 3) !== 0 && at < end) {
      this.#tail |= (bytes[at++] as number) << (8 * (this.#length & 3));
      this.#length++;
      if ((this.#length & 3) === 0) {
        hash = mixWord(hash, this.#tail);
        this.#tail = 0;
      }
    }
    for (; at + 4 <= end; at += 4) {
      const word =
        (bytes[at] as number) |
        ((bytes[at + 1] as number) << 8) |
        ((bytes[at + 2] as number) << 16) |
        ((bytes[at + 3] as number) << 24);
      hash = mixWord(hash, word);
      this.#length += 4;
    }
    for (; at < end; at++) {
      this.#tail |= (bytes[at] as number) << (8 * (this.#length & 3));
      this.#length++;
    }
    this.#hash = hash;
    return this;
  }

  /** The hash of everything so far, unsigned; more may follow. */
  digest(): number {
    let hash = this.#hash;
    if ((this.#length & 3) !== 0) hash ^= scramble(this.#tail);
    return finished(hash, this.#length);
  }
}

function finished(mixed: number, length: number): number {
  let hash = mixed ^ length;
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}

function scramble(word: number): number {
  const product = Math.imul(word, c1);
  return Math.imul((product << 15) | (product >>> 17), c2);
}

function mixWord(hash: number, word: number): number {
  const mixed = hash ^ scramble(word);
  return (Math.imul((mixed << 13) | (mixed >>> 19), 5) + 0xe6546b64) | 0;
}

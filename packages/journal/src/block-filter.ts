import type { BlockFilter } from '@robustmq/kernel';

/*
 * A split-block Bloom filter over 32-bit tokens, version 1 of the disk format. It has a power of two of buckets of 256
 * bits; a token chooses one bucket and sets one bit in each of its eight words. Filters are built at their largest
 * size and folded to half as long as they keep `bitsPerToken`, which works because the bucket comes from the high bits.
 */
export const blockFilterVersion = 1;
export const blockFilterBytesMax = 16 * 1024;
const bitsPerToken = 10;
const wordsPerBucket = 8;
const wordsMax = blockFilterBytesMax / 4;
const recentPlaces = 512;
const tokensMax = (blockFilterBytesMax * 8) / bitsPerToken;

/** Odd multipliers, one for each word of a bucket. */
const multipliers = Int32Array.of(
  0x9e3779b1,
  0x85ebca77,
  0xc2b2ae3d,
  0x27d4eb2f,
  0x165667b1,
  0xd3a2646d,
  0xfd7046c5,
  0xb55a4f09,
);

/** Collects the tokens of a block, or of a segment, and is used again after `finish`. */
export class BlockFilterBuilder {
  readonly #words = new Uint32Array(wordsMax);
  #tokens = 0;
  /** What was added lately, at the place of its low bits: most levels of a key are those of the key before. */
  readonly #recent = new Uint32Array(recentPlaces);

  constructor() {
    this.#forgetRecent();
  }

  /** About 10 ns, less for what was added lately; `bench` watches the whole sweep. */
  add(token: number): void {
    const place = token & (recentPlaces - 1);
    if (this.#recent[place] === token) return;
    this.#recent[place] = token;
    const words = this.#words;
    const at = bucketOf(token, wordsMax / wordsPerBucket) * wordsPerBucket;
    let fresh = 0;
    for (let i = 0; i < wordsPerBucket; i++) {
      const bit = 1 << (Math.imul(token, multipliers[i]!) >>> 27);
      const word = words[at + i]!;
      fresh |= bit & ~word;
      words[at + i] = word | bit;
    }
    if (fresh !== 0) this.#tokens++;
  }

  /** The filter, or null when it would be above its largest size, which means 'matches all'. */
  finish(): Uint32Array | null {
    const tokens = this.#tokens;
    const filter = tokens > tokensMax ? null : this.#folded(tokens);
    this.reset();
    return filter;
  }

  /** Adds all tokens of this one to `other`, whose count of distinct tokens grows by an estimate on the safe side. */
  addTo(other: BlockFilterBuilder): void {
    let bits = 0;
    for (let at = 0; at < wordsMax; at++) {
      const word = this.#words[at]!;
      const before = other.#words[at]!;
      other.#words[at] = before | word;
      bits += bitsIn(word & ~before);
    }
    // A new token sets eight bits less those that others set; half of them where the filter is as full as it gets.
    other.#tokens += Math.min(this.#tokens, Math.ceil(bits / 4));
  }

  reset(): void {
    if (this.#tokens > 0) {
      this.#words.fill(0);
      this.#forgetRecent();
    }
    this.#tokens = 0;
  }

  /** Each place gets a token that belongs to another. */
  #forgetRecent(): void {
    for (let place = 0; place < recentPlaces; place++) this.#recent[place] = place + 1;
  }

  #folded(tokens: number): Uint32Array {
    let words = wordsPerBucket;
    while (words * 32 < tokens * bitsPerToken) words *= 2;
    const folded = new Uint32Array(words);
    const ratio = wordsMax / words;
    for (let at = 0; at < wordsMax; at += wordsPerBucket) {
      const into = Math.floor(at / wordsPerBucket / ratio) * wordsPerBucket;
      for (let i = 0; i < wordsPerBucket; i++) folded[into + i]! |= this.#words[at + i]!;
    }
    return folded;
  }
}

/** False when `token` was certainly not added. */
export function filterHolds(filter: Uint32Array, token: number): boolean {
  const at = bucketOf(token, filter.length / wordsPerBucket) * wordsPerBucket;
  for (let i = 0; i < wordsPerBucket; i++) {
    const bit = 1 << (Math.imul(token, multipliers[i]!) >>> 27);
    if ((filter[at + i]! & bit) === 0) return false;
  }
  return true;
}

/** Whether one of the alternatives may be in what `filter` was built from. */
export function filterMatches(filter: Uint32Array, wanted: BlockFilter): boolean {
  for (const tokens of wanted) {
    let all = true;
    for (let i = 0; i < tokens.length && all; i++) all = filterHolds(filter, tokens[i]!);
    if (all) return true;
  }
  return false;
}

function bitsIn(word: number): number {
  let bits = word - ((word >>> 1) & 0x55555555);
  bits = (bits & 0x33333333) + ((bits >>> 2) & 0x33333333);
  return Math.imul((bits + (bits >>> 4)) & 0x0f0f0f0f, 0x01010101) >>> 24;
}

/** The bucket is taken from a mix of its own, so that tokens of one bucket differ in their bits. */
function bucketOf(token: number, buckets: number): number {
  let mixed = Math.imul(token ^ (token >>> 16), 0x7feb352d);
  mixed = Math.imul(mixed ^ (mixed >>> 15), 0x846ca68b);
  return Math.floor((((mixed ^ (mixed >>> 16)) >>> 0) * buckets) / 0x1_0000_0000);
}

import { bareToken, keyTokens, shownTokens } from '../names/tokens.ts';
import type { TokenSink } from '../names/tokens.ts';
import type { BlockFilter } from '../ports/journal-client.ts';

/** Bits for each alternative: few strangers pass, and thousands of alternatives stay in the processor's cache. */
const bitsPerAlternative = 32;
const bitsMin = 1024;
const bitsMax = 1024 * 1024;
/** Uses of tokens are counted in so many places; some share one. */
const usePlaces = 4096;

/**
 * Asks single records what a `BlockFilter` asks blocks: most records of a block that must be read concern nobody, and
 * this finds out without making a name of each. Costs a hash for each level of a key and allocates nothing; watched by
 * the `bench` rows `offline-one` and `offline-thousand`.
 */
export class RecordFilter implements TokenSink {
  readonly #bits: Uint32Array;
  readonly #mask: number;
  #asksBare = false;
  #hit = false;

  constructor(alternatives: BlockFilter) {
    let bits = bitsMin;
    while (bits < bitsMax && bits < alternatives.length * bitsPerAlternative) bits *= 2;
    this.#bits = new Uint32Array(bits / 32);
    this.#mask = bits - 1;
    const uses = new Uint16Array(usePlaces);
    for (const tokens of alternatives) for (const token of tokens) uses[token % usePlaces]!++;
    for (const tokens of alternatives) {
      const token = rarest(tokens, uses);
      this.#asksBare ||= token === bareToken;
      this.#set(token);
    }
  }

  /** False: no alternative can match the record with the key `key[start, end)`, `start` -1 for the null key. */
  mayMatch(key: Uint8Array, start: number, end: number): boolean {
    this.#hit = false;
    if (this.#asksBare) keyTokens(key, start, end, this);
    else if (start >= 0) shownTokens(key, start, end, this);
    return this.#hit;
  }

  add(token: number): void {
    const bit = token & this.#mask;
    if ((this.#bits[bit >>> 5]! & (1 << (bit & 31))) !== 0) this.#hit = true;
  }

  #set(token: number): void {
    const bit = token & this.#mask;
    this.#bits[bit >>> 5] = this.#bits[bit >>> 5]! | (1 << (bit & 31));
  }
}

/** A record that matches has every token of an alternative, so one is enough: what fewest share; of these the last. */
function rarest(tokens: Uint32Array, uses: Uint16Array): number {
  let found = tokens[0]!;
  for (const token of tokens) if (uses[token % usePlaces]! <= uses[found % usePlaces]!) found = token;
  return found;
}

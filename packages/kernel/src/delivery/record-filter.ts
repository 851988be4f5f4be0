import { isBare, levelEnd, levelToken, tokenPlace, wholeToken } from '../names/tokens.ts';
import type { FilterTokens } from '../names/tokens.ts';

/** Places for each token, at least: most questions then end at an empty one. */
const slotsPerToken = 4;
const slotsMin = 64;
/** Uses of tokens are counted in so many places; some share one. */
const usePlaces = 4096;

/**
 * Asks single records what a `BlockFilter` asks blocks: most records of a block that must be read concern nobody, and
 * this finds out without making a name of each. Costs a hash for each part of a key that a filter asks for and
 * allocates nothing; watched by the `bench` rows `offline-one` and `offline-thousand`.
 */
export class RecordFilter {
  /** The tokens; 0 is an empty place. */
  readonly #slots: Uint32Array;
  readonly #mask: number;
  #asksBare = false;
  #asksWhole = false;
  /** Levels that somebody asks for have a 1. */
  readonly #levels: Uint8Array;

  constructor(alternatives: readonly FilterTokens[]) {
    let slots = slotsMin;
    while (slots < alternatives.length * slotsPerToken) slots *= 2;
    this.#slots = new Uint32Array(slots);
    this.#mask = slots - 1;
    const uses = new Uint16Array(usePlaces);
    for (const { tokens } of alternatives) for (const token of tokens) uses[token % usePlaces]!++;
    const levels: number[] = [];
    for (const { tokens, places } of alternatives) {
      const at = rarest(tokens, uses);
      const place = places[at]!;
      if (place === tokenPlace.whole) this.#asksWhole = true;
      else if (place === tokenPlace.bare) this.#asksBare = true;
      else if (place !== tokenPlace.nowhere) levels[place] = 1;
      if (place >= 0 || place === tokenPlace.whole) this.#add(tokens[at]!);
    }
    this.#levels = Uint8Array.from(levels);
  }

  /** False: no alternative can match the record with the key `key[start, end)`, `start` -1 for the null key. */
  mayMatch(key: Uint8Array, start: number, end: number): boolean {
    if (this.#asksBare && isBare(key, start, end)) return true;
    if (start < 0) return false;
    if (this.#asksWhole && this.#holds(wholeToken(key, start, end))) return true;
    const levels = this.#levels;
    let at = start;
    for (let level = 0; level < levels.length && at <= end; level++) {
      const levelStart = at;
      at = levelEnd(key, levelStart, end);
      if (levels[level] !== 0 && this.#holds(levelToken(key, levelStart, at, level))) return true;
      at++;
    }
    return false;
  }

  #holds(token: number): boolean {
    const slots = this.#slots;
    for (let at = token & this.#mask; ; at = (at + 1) & this.#mask) {
      const found = slots[at]!;
      if (found === token) return true;
      if (found === 0) return token === 0;
    }
  }

  #add(token: number): void {
    let at = token & this.#mask;
    while (this.#slots[at] !== 0 && this.#slots[at] !== token) at = (at + 1) & this.#mask;
    this.#slots[at] = token;
  }
}

/** A record that matches has every token of an alternative, so one is enough: what fewest share; of these the last. */
function rarest(tokens: Uint32Array, uses: Uint16Array): number {
  let found = 0;
  for (let at = 1; at < tokens.length; at++) {
    if (uses[tokens[at]! % usePlaces]! <= uses[tokens[found]! % usePlaces]!) found = at;
  }
  return found;
}

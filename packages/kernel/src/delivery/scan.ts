import type { Offset } from '@robustmq/core';
import type { FilterTokens } from '../names/tokens.ts';
import type { BlockFilter } from '../ports/journal-client.ts';
import type { CatchUpReader } from './delivery-port.ts';
import { RecordFilter } from './record-filter.ts';
import { alternativesMax } from './wanted-tokens.ts';

/** A group that begins behind gets so many blocks before it takes turns: it soon meets one that began a little earlier. */
const leadMax = 64;

interface Group {
  /** Its readers are those whose next offset lies from here up to the group ahead. */
  from: Offset;
  size: number;
  /** What they look for; null: anything; undefined: to be made anew. */
  wanted: Wanted | null | undefined;
}

/** What the readers of a block look for. */
export interface Wanted {
  readonly blocks: BlockFilter;
  readonly records: RecordFilter;
}

/** The block to read next: for readers whose next offset is `from` or above, up to `limit`. */
export interface ScanStep {
  readonly from: Offset;
  readonly limit: Offset;
  readonly wanted: Wanted | null;
}

/** What lets a reader skip blocks; null when it wants any. */
export type TokensOf = (reader: CatchUpReader) => readonly FilterTokens[] | null;

/**
 * The readers that are behind on one shard, and the order in which its blocks are read for them. At most two groups
 * go through the log, as many blocks each, and become one where they meet. Who comes later with a lower offset waits
 * until a group ends: thousands that come one by one are served by a few passes, and none waits for more than one.
 */
export class Scan {
  readonly readers = new Map<object, CatchUpReader>();
  /** Those that came while a block was being read: they join before the next, as this one may have passed them. */
  readonly joining = new Map<object, CatchUpReader>();
  running = false;
  readonly #tokens = new Map<CatchUpReader, readonly FilterTokens[] | null>();
  readonly #front: Group = { from: 0, size: 0, wanted: undefined };
  readonly #back: Group = { from: 0, size: 0, wanted: undefined };
  #turnOfBack = false;
  /** By how many blocks the group in front had more than the other, as far as it counts. */
  #lead = 0;

  get size(): number {
    return this.readers.size + this.joining.size;
  }

  add(reader: CatchUpReader): void {
    this.#tokens.delete(reader);
    // One that is being read for may have other filters now.
    if (this.readers.get(reader.subscriber) === reader) this.#changed();
    else this.joining.set(reader.subscriber, reader);
  }

  /** Takes a reader out; another one of the same subscriber stays. */
  remove(reader: CatchUpReader): void {
    const { subscriber } = reader;
    if (this.joining.get(subscriber) === reader) this.joining.delete(subscriber);
    if (this.readers.get(subscriber) === reader) {
      this.readers.delete(subscriber);
      this.#changed();
    }
    this.#tokens.delete(reader);
  }

  join(): void {
    if (this.joining.size === 0) return;
    for (const [subscriber, reader] of this.joining) this.readers.set(subscriber, reader);
    this.joining.clear();
    this.#changed();
  }

  clear(): void {
    this.readers.clear();
    this.joining.clear();
    this.#tokens.clear();
  }

  /** What to read next, below `limit`; there is a reader. */
  next(limit: Offset, tokensOf: TokensOf): ScanStep {
    this.#place();
    const front = this.#front;
    const back = this.#back;
    this.#turnOfBack = this.#lead > 0 && back.size > 0;
    this.#lead = this.#turnOfBack ? this.#lead - 1 : Math.min(this.#lead + 1, leadMax);
    if (this.#turnOfBack) return this.#step(back, Math.min(limit, front.from), tokensOf);
    return this.#step(front, limit, tokensOf);
  }

  /** What `next` said was read, up to `end`: who comes with a lower offset is not of this group. */
  passed(end: Offset): void {
    const group = this.#turnOfBack ? this.#back : this.#front;
    if (end > group.from) group.from = end;
  }

  /** Puts each group where its hindmost reader stands. */
  #place(): void {
    const front = this.#front;
    const back = this.#back;
    const ahead = { from: Infinity, size: 0 };
    const behind = { from: Infinity, size: 0 };
    const waiting = { from: Infinity, size: 0 };
    for (const { next } of this.readers.values()) {
      const group = next >= front.from ? ahead : next >= back.from ? behind : waiting;
      group.size++;
      if (next < group.from) group.from = next;
    }
    if (ahead.size === 0) {
      const [first, second] = behind.size === 0 ? [waiting, behind] : [behind, waiting];
      front.wanted = undefined;
      back.wanted = undefined;
      set(front, first);
      set(back, second);
    } else {
      set(front, ahead);
      if (behind.size === 0) back.wanted = undefined;
      set(back, behind.size === 0 ? waiting : behind);
    }
    // Nobody is between: the next that comes with a lower offset begins the group.
    if (back.size === 0) back.from = front.from;
  }

  #step(group: Group, limit: Offset, tokensOf: TokensOf): ScanStep {
    if (group.wanted === undefined) group.wanted = this.#wanted(group.from, limit, tokensOf);
    return { from: group.from, limit, wanted: group.wanted };
  }

  #wanted(from: Offset, limit: Offset, tokensOf: TokensOf): Wanted | null {
    const alternatives: FilterTokens[] = [];
    for (const reader of this.readers.values()) {
      if (reader.next < from || reader.next >= limit) continue;
      let tokens = this.#tokens.get(reader);
      if (tokens === undefined) {
        tokens = tokensOf(reader);
        this.#tokens.set(reader, tokens);
      }
      if (tokens === null || alternatives.length + tokens.length > alternativesMax) return null;
      for (const each of tokens) alternatives.push(each);
    }
    return { blocks: alternatives.map(({ tokens }) => tokens), records: new RecordFilter(alternatives) };
  }

  #changed(): void {
    this.#front.wanted = undefined;
    this.#back.wanted = undefined;
  }
}

function set(group: Group, found: { readonly from: Offset; readonly size: number }): void {
  if (group.size !== found.size) group.wanted = undefined;
  group.from = found.from;
  group.size = found.size;
}

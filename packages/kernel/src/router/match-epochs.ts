import type { Subject } from '../names/subject.ts';
import { isWildcardFilter } from './filter.ts';

/** A power of two. Subjects and filters that fall together void each other's cached matches, no more. */
const slotCount = 16_384;
const slotMask = slotCount - 1;
const fnvOffset = 0x811c9dc5;
const fnvPrime = 0x01000193;
/** Keeps a name apart from a prefix that reads the same. */
const exactSalt = 0x5bd1e995;

/**
 * Tells whether a match cached in a subject still holds, without every change of a subscription voiding all of them:
 * a filter touches one counter, chosen by what it can match, and a subject adds up the four counters of the filters
 * that can match it. Counters only rise, so an equal sum means that none has changed.
 *
 *     filter             counter                      example
 *     no wildcard        slot of the whole name       a/b/c
 *     two levels, then + or #     slot of these two   a/b/#, a/b/+/d
 *     one level, then + or #      slot of that one    a/#, a/+/c
 *     begins with + or #          the root            #, +/b
 */
export class MatchEpochs {
  readonly #slots = new Float64Array(slotCount);
  #root = 0;
  #changes = 0;

  /** Changes in all. */
  get changes(): number {
    return this.#changes;
  }

  /** The sum that a cached match of `subject` must have been stored with to be valid. `locate` was called before. */
  sum(subject: Subject): number {
    const slots = this.#slots;
    return (
      this.#root +
      (slots[subject.levelSlot] as number) +
      (slots[subject.prefixSlot] as number) +
      (slots[subject.nameSlot] as number)
    );
  }

  /** Sets the slots of a new subject. */
  locate(subject: Subject): void {
    const name = subject.name;
    const levelEnd = endOfLevel(name, 0);
    const prefixEnd = endOfLevel(name, levelEnd + 1);
    subject.levelSlot = slotOf(name, levelEnd, 0);
    subject.prefixSlot = slotOf(name, prefixEnd, 0);
    subject.nameSlot = slotOf(name, name.length, exactSalt);
  }

  /** The subscriptions of `filter` changed. */
  touch(filter: string): void {
    this.#changes++;
    const slot = slotOfFilter(filter);
    if (slot < 0) this.#root++;
    else (this.#slots[slot] as number)++;
  }

  /** Voids everything. */
  touchAll(): void {
    this.#changes++;
    this.#root++;
  }
}

function slotOfFilter(filter: string): number {
  if (!isWildcardFilter(filter)) return slotOf(filter, filter.length, exactSalt);
  const levelEnd = endOfLevel(filter, 0);
  if (isWildcardLevel(filter, 0, levelEnd)) return -1;
  const prefixEnd = endOfLevel(filter, levelEnd + 1);
  const end = isWildcardLevel(filter, levelEnd + 1, prefixEnd) ? levelEnd : prefixEnd;
  return slotOf(filter, end, 0);
}

function isWildcardLevel(filter: string, start: number, end: number): boolean {
  return end - start === 1 && (filter[start] === '+' || filter[start] === '#');
}

function slotOf(name: string, end: number, salt: number): number {
  let hash = fnvOffset ^ salt;
  for (let at = 0; at < end; at++) hash = Math.imul(hash ^ name.charCodeAt(at), fnvPrime);
  return (hash ^ (hash >>> 15)) & slotMask;
}

function endOfLevel(name: string, at: number): number {
  const end = name.indexOf('/', at);
  return end < 0 ? name.length : end;
}

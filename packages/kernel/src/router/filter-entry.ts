import type { Guarantee, Match, Subscription } from './match.ts';

/** Above this many a `Set` finds a subscription faster than a scan. */
const listMax = 16;

/** Every state of every entry has a number of its own, so that states can be told apart by it. */
let lastVersion = 0;

/** One filter and the subscriptions that carry it. */
export class FilterEntry {
  readonly filter: string;
  /** Changes with the subscriptions; unique among all entries of the process. */
  version = ++lastVersion;
  /** Whether its subscribers' exclusion from a topic was reported since the last one joined. */
  exclusionReported = false;
  #subscriptions: Subscription[] | Set<Subscription> = [];
  #match: Match | null = null;

  constructor(filter: string) {
    this.filter = filter;
  }

  get size(): number {
    const held = this.#subscriptions;
    return held instanceof Set ? held.size : held.length;
  }

  /** False when it is there already. */
  add(subscription: Subscription): boolean {
    const held = this.#subscriptions;
    if (held instanceof Set) {
      if (held.has(subscription)) return false;
      held.add(subscription);
    } else {
      if (held.includes(subscription)) return false;
      held.push(subscription);
      if (held.length > listMax) this.#subscriptions = new Set(held);
    }
    this.exclusionReported = false;
    this.#changed();
    return true;
  }

  /** False when it is not there. */
  remove(subscription: Subscription): boolean {
    const held = this.#subscriptions;
    if (held instanceof Set) {
      if (!held.delete(subscription)) return false;
    } else {
      const at = held.indexOf(subscription);
      if (at < 0) return false;
      held.splice(at, 1);
    }
    this.#changed();
    return true;
  }

  /**
   * The match of a subject that only this filter matches, in the order of subscribing. One object for all such
   * subjects; it does not change: after a change of the subscriptions there is another one.
   */
  match(): Match {
    this.#match ??= matchOf([...this.#subscriptions]);
    return this.#match;
  }

  /** Appends the subscriptions in the order of subscribing. */
  appendTo(list: Subscription[]): void {
    for (const subscription of this.#subscriptions) list.push(subscription);
  }

  #changed(): void {
    this.version = ++lastVersion;
    this.#match = null;
  }
}

/** A match of these subscriptions, which it keeps. */
export function matchOf(subscriptions: readonly Subscription[]): Match {
  let guaranteeMax: Guarantee | -1 = -1;
  let guaranteeMin: Guarantee | 3 = 3;
  for (const { guarantee } of subscriptions) {
    if (guarantee > guaranteeMax) guaranteeMax = guarantee;
    if (guarantee < guaranteeMin) guaranteeMin = guarantee;
  }
  return { subscriptions, guaranteeMax, guaranteeMin, plan: null };
}
